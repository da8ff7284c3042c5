"""A reader that goes on from the model before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins.contract import Draft, PluginError, Previous
from plugins.ocr import bases, trainer
from plugins.ocr.bases import Base, cut
from plugins.ocr.exporter import WEIGHTS, export, origin
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import Thresholds
from plugins.ocr.trainer import int8
from plugins.ocr.trainer.previous import effort, former
from tests.plugins.context import MemoryContext
from tests.plugins.ocr_pages import context_of, page


@pytest.fixture(autouse=True)
def only_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Int8 takes longer than these trainings, and has tests of its own (`test_ocr_int8`)."""
    monkeypatch.setattr(int8, "offer", lambda context, folder, model, side, validation: (model, {}))


def base_of() -> Base:
    return bases.load("pp-ocrv6-small", None, True)


def context(folder: Path, previous: Previous | None = None, pages: int = 3) -> MemoryContext:
    made = [page(number, "train" if number < pages - 1 else "validation") for number in range(pages)]
    return context_of(folder, made, OcrParams(fine_tune=False), previous)


def previous_of(draft: Draft, trained: Mapping[str, str | None] | None = None, **values: Any) -> Previous:
    return Previous("before", "", draft.folder, draft.model, draft.base, {}, {}, trained or {}, **values)


def a_model(folder: Path, characters: str = "AB", forms: Mapping[str, str] | None = None) -> Previous:
    """A reader whose weights are not those of its base."""
    base = base_of()
    recogniser = cut(base.recogniser, characters, forms)
    with torch.no_grad():
        for value in [*base.detector.parameters(), *recogniser.parameters()]:
            value.mul_(0.99)
    model = export(base.detector, recogniser, folder, thresholds=Thresholds(unclip_ratio=1.2))
    return previous_of(Draft(folder, model, origin(base), {}))


def test_a_former_network_keeps_what_it_knows_and_takes_the_rest_from_its_base(tmp_path: Path) -> None:
    previous = a_model(tmp_path / "before", "AB", {"a": "A"})
    base = base_of()
    fresh = cut(base.recogniser, "ABC", {"a": "A", "b": "B"})
    found = former(context(tmp_path, previous), base, fresh)
    assert found is not None and found.thresholds == Thresholds(unclip_ratio=1.2)
    assert found.recogniser.rows == fresh.rows == ("", "A", "B", "C", " ", "a", "b")
    before = cut(base_of().recogniser, "AB", {"a": "A"}).last_layer()[0] * 0.99
    own, published = found.recogniser.last_layer()[0], fresh.last_layer()[0]
    places = [found.recogniser.rows.index(one) for one in ("", "A", "B", " ", "a")]
    assert torch.allclose(own[places], before)
    places = [found.recogniser.rows.index(one) for one in ("C", "b")]
    assert torch.equal(own[places], published[places])
    detected = next(iter(found.detector.parameters())), next(iter(base.detector.parameters()))
    assert torch.allclose(detected[0], detected[1] * 0.99)


@pytest.mark.parametrize("what", ["base", "weights", "gone"])
def test_a_model_that_does_not_fit_is_said_or_refused(tmp_path: Path, what: str) -> None:
    previous = a_model(tmp_path / "before")
    if what == "base":
        previous = replace(previous, base={"name": "doctr-mobilenet", "files": {}})
    elif what == "weights":
        (previous.folder / WEIGHTS).write_bytes(b"no weights")
    else:
        (previous.folder / WEIGHTS).unlink()
    base = base_of()
    recogniser = cut(base.recogniser, "AB")
    made = context(tmp_path, previous)
    assert former(made, base, recogniser) is None
    assert any("not from model before" in line for line in made.lines)
    with pytest.raises(PluginError, match="cannot start from model before") as refusal:
        former(context(tmp_path, replace(previous, required=True)), base, recogniser)
    assert refusal.value.code == "previous_differs"


def test_training_takes_the_longer_the_more_is_new(tmp_path: Path) -> None:
    examples = context(tmp_path, pages=11).examples("train")
    known = {one.content_hash: None for one in examples}
    draft = Draft(tmp_path, {}, {}, {})
    assert effort(previous_of(draft), examples) == 1.0
    assert effort(previous_of(draft, dict(list(known.items())[2:])), examples) == pytest.approx(0.4)
    assert effort(previous_of(draft, known), examples) == pytest.approx(0.1)


def test_a_model_that_reads_as_well_is_gone_on_from_in_every_attempt(tmp_path: Path) -> None:
    first = trainer.train(context(tmp_path / "first"))
    assert "parent" not in first.facts
    made = context(tmp_path / "second", previous_of(first))
    assert trainer.train(made).facts["parent"] == "before"
    assert any("goes on from the model" in line for line in made.lines)
    assert trainer.train(context(tmp_path / "second", previous_of(first))).facts["parent"] == "before"


def test_a_model_that_reads_worse_is_not_gone_on_from(tmp_path: Path) -> None:
    base = base_of()
    with torch.no_grad():
        for value in base.recogniser.parameters():
            value.zero_()
    model = export(base.detector, cut(base.recogniser, "AB3"), tmp_path / "before")
    previous = previous_of(Draft(tmp_path / "before", model, origin(base), {}))
    draft = trainer.train(context(tmp_path / "after", previous))
    assert "parent" not in draft.facts
