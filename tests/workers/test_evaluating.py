"""What is said of a model that was measured beside the one before it."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from backend.errors import ModelInvalid
from plugins import registry
from plugins.contract import Evaluation, Judged, PluginError, Predictor
from workers import evaluate
from workers.evaluate import side_by_side


def _measured(accuracy: float, wrong: range, images: int = 20) -> Evaluation:
    answers = [
        Judged(str(n), "bolt", "nut" if n in wrong else "bolt", 0.9, n not in wrong) for n in range(images)
    ]
    return Evaluation({"accuracy": accuracy}, answers=answers)


def test_a_difference_of_one_image_is_called_chance() -> None:
    note = side_by_side("accuracy", "parts3", _measured(0.95, range(1)), _measured(0.9, range(2)), 20)
    assert note == (
        "accuracy 0.900 against 0.950 of parts3 on the same 20 images: 0 better, 1 worse, which may be chance"
    )


def test_a_difference_of_many_images_is_not() -> None:
    note = side_by_side("accuracy", "parts3", _measured(0.5, range(10)), _measured(1.0, range(0)), 20)
    assert note.endswith("on the same 20 images: 10 better, 0 worse")


@pytest.mark.parametrize("error", [ModelInvalid("the bundle is gone"), PluginError("odd", "of another age")])
def test_a_current_model_that_cannot_be_opened_costs_only_the_comparison(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    said: list[str] = []
    current = SimpleNamespace(plugin="classification", labels=["bolt", "nut"], name="parts3", digest="d")
    task = SimpleNamespace(dataset_id=1, labels=["bolt", "nut"])
    attempt = SimpleNamespace(
        runtime=SimpleNamespace(sessions=nullcontext),
        task=task,
        plugin=registry.plugin("classification"),
        record=SimpleNamespace(log=said.append),
    )

    def refuse(*_: object) -> Predictor:
        raise error

    monkeypatch.setattr("backend.models.registry.current", lambda session, dataset_id: current)
    monkeypatch.setattr(evaluate, "_open_previous", refuse)
    found = evaluate._compare(attempt, None, _measured(0.9, range(2)), [])  # type: ignore[arg-type]
    assert found == ("", "not compared with parts3, which cannot be opened")
    assert str(error) in said[0]


def test_without_lists_of_answers_only_the_figures_are_told() -> None:
    bare = Evaluation({"accuracy": 0.5})
    assert side_by_side("accuracy", "parts3", bare, bare, 20).endswith("on the same 20 images")
