"""The evaluation of a classifier: its figures, how uncertain they are, and that they are always numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins import bundle
from plugins.classification.evaluate import evaluate
from plugins.classification.intervals import intervals, wilson
from plugins.classification.plots import illustrate
from plugins.classification.reliability import brier, reliability
from plugins.contract import Decision, Evaluation, Example, Output, Prediction
from tests.plugins.context import example


def _examples(truths: Sequence[str], group: str = "") -> list[Example]:
    return [
        example(f"{place}.jpg", bytes([place % 256]), truth, "validation", group)
        for place, truth in enumerate(truths)
    ]


def _prediction(
    label: str, conf: float, others: Sequence[str], decision: Decision | None = None
) -> Prediction:
    rest = [Output(other, (1 - conf) / len(others)) for other in others]
    return Prediction((Output(label, conf), *rest), decision)


def _evaluation(truths: Sequence[str], answers: Sequence[str], conf: float = 0.9) -> Evaluation:
    labels = sorted({*truths, *answers, "a", "b"})
    rows = [_prediction(answer, conf, [one for one in labels if one != answer]) for answer in answers]
    return evaluate(_examples(truths), rows)


def _finite(evaluation: Evaluation) -> None:
    assert all(math.isfinite(value) for value in evaluation.metrics.values())
    json.dumps([dict(evaluation.metrics), dict(evaluation.details)], allow_nan=False)


@pytest.mark.parametrize(
    "truths, answers",
    [
        ("", ""),
        ("a", "a"),
        ("a", "b"),
        ("aaaa", "aaaa"),
        ("aabb", "bbaa"),
        ("xyab", "abab"),  # classes that the model has never seen
        ("a" * 40 + "b", "a" * 41),
    ],
)
def test_every_number_is_finite(truths: str, answers: str, tmp_path: Path) -> None:
    evaluation = _evaluation(truths, answers)
    _finite(evaluation)
    for name, (low, high) in evaluation.details.get("intervals", {}).items():
        assert 0 <= low <= evaluation.metrics[name] <= high <= 1
    illustrate(evaluation, [], tmp_path)


def test_a_model_of_one_class_is_evaluated() -> None:
    _finite(evaluate(_examples("aa"), [Prediction((Output("a", 1.0),))] * 2))


def test_all_right_is_no_proof_of_perfection() -> None:
    details = _evaluation("ab" * 10, "ab" * 10).details
    low, high = details["intervals"]["accuracy"]
    assert high == 1 and low == pytest.approx(0.839, abs=0.002)  # Wilson's interval of 20 of 20
    assert details["per_class"][0]["recall_interval"][0] == pytest.approx(0.722, abs=0.002)


def test_more_images_narrow_the_interval() -> None:
    widths = []
    for repeats in (5, 20, 80):
        low, high = _evaluation("aabb" * repeats, "aaba" * repeats).details["intervals"]["macro_f1"]
        widths.append(high - low)
    assert widths[0] > widths[1] > widths[2] > 0


def test_near_duplicates_count_once() -> None:
    truth, answers = np.zeros(40, np.int64), np.array([0] * 30 + [1] * 10)
    alone = intervals(truth, answers, [""] * 40, 2)["accuracy"]
    grouped = intervals(truth, answers, [str(place // 10) for place in range(40)], 2)["accuracy"]
    assert grouped[1] - grouped[0] > 1.5 * (alone[1] - alone[0])


def test_the_intervals_hold_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of models that are right in 85 % of cases, about 95 of 100 intervals contain 85 %."""
    monkeypatch.setattr("plugins.classification.intervals.DRAWS", 200)
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 10)
    held = 0
    for _ in range(60):
        wrong = random.random(len(truth)) > 0.85
        answers = np.where(wrong, (truth + 1) % 4, truth)
        low, high = intervals(truth, answers, [""] * len(truth), 4)["balanced_accuracy"]
        held += low <= 0.85 <= high
    assert held >= 53


def test_the_same_images_give_the_same_intervals() -> None:
    one, other = (_evaluation("aabbb" * 5, "abbab" * 5).details["intervals"] for _ in range(2))
    assert one == other


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilsons_interval_contains_the_share(right: int, images: int) -> None:
    right = min(right, images)
    low, high = wilson(right, images)
    assert 0 <= low <= right / images <= high <= 1
    assert (low == 0) == (right == 0) and (high == 1) == (right == images)


def test_of_no_images_anything_may_be_true() -> None:
    assert wilson(0, 0) == (0, 1)


def test_exact_confidences_have_no_calibration_error() -> None:
    confidences = np.repeat([0.5, 0.75], [100, 100])
    right = np.array([True, False] * 50 + [True, True, True, False] * 25)
    judged = reliability(confidences, right)
    assert judged.ece == pytest.approx(0)
    assert judged.mean_confidence == pytest.approx(0.625)


def test_boasting_is_measured_and_beyond_chance() -> None:
    judged = reliability(np.full(150, 0.95), np.array([True, True, False] * 50))
    assert judged.ece == pytest.approx(0.95 - 2 / 3)
    assert judged.ece > judged.chance
    assert [one.images for one in judged.bins] == [15] * 10


def test_few_images_get_one_bin_and_chance_explains_much() -> None:
    judged = reliability(np.full(6, 0.8), np.array([True] * 4 + [False] * 2))
    assert len(judged.bins) == 1 and judged.chance > 0.13
    assert (reliability(np.empty(0), np.empty(0, np.bool_)).bins) == ()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.3, 0.6, 0.9, 1.0]), st.booleans()), min_size=1), st.randoms())
def test_the_order_of_images_changes_nothing(rows: list[tuple[float, bool]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (
        reliability(np.array([conf for conf, _ in some]), np.array([right for _, right in some]))
        for some in (rows, shuffled)
    )
    assert one.ece == pytest.approx(other.ece)
    assert 0 <= one.ece <= 1


def test_the_brier_score_of_certainty() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert brier(sure, np.array([0, 0])) == 0
    assert brier(sure, np.array([1, 1])) == 2
    assert brier(sure, np.array([0, 5])) == pytest.approx(1)  # a class that the model does not know
    assert brier(sure[:0], np.array([], np.int64)) == 0


def test_decisions_become_coverage_and_precision() -> None:
    act, unsure, unlike = Decision("a"), Decision(None, "not_sure"), Decision(None, "unlike_training")
    rows = [_prediction("a", 0.9, ["b"], decision) for decision in (act, act, act, unsure, unlike)]
    evaluation = evaluate(_examples("aabab"), rows)
    assert evaluation.metrics["coverage"] == pytest.approx(3 / 5)
    assert evaluation.metrics["acted_precision"] == pytest.approx(2 / 3)
    assert evaluation.details["decisions"] == {
        "images": 5,
        "acted": 3,
        "right": 2,
        "not_sure": 1,
        "unlike_training": 1,
    }
    first = evaluation.details["per_class"][0]
    assert (first["answered"], first["acted"], first["acted_right"]) == (5, 3, 2)
    assert set(evaluation.details["intervals"]) >= {"coverage", "acted_precision", "top_3_accuracy"}


def test_a_model_that_acts_on_nothing_has_no_precision() -> None:
    rows = [_prediction("a", 0.4, ["b"], Decision(None, "not_sure"))] * 2
    evaluation = evaluate(_examples("aa"), rows)
    assert evaluation.metrics["coverage"] == 0 and "acted_precision" not in evaluation.metrics
    _finite(evaluation)


def test_a_model_that_does_not_decide_has_no_coverage() -> None:
    evaluation = _evaluation("ab", "ab")
    assert "coverage" not in evaluation.metrics and "decisions" not in evaluation.details


def test_the_plots_show_names_of_any_script(tmp_path: Path) -> None:
    names = ["$x_1$", "日本語", "a\nb"]
    rows = [
        _prediction(name, 0.8, [other for other in names if other != name], Decision(name))
        for name in names * 6
    ]
    evaluation = evaluate(_examples(names * 6), rows)
    illustrate(evaluation, [{"name": "loss", "epoch": 1, "value": 0.5}], tmp_path / "plots")
    written = {path.name for path in (tmp_path / "plots").iterdir()}
    assert written == {"confusion.png", "classes.png", "reliability.png", "training.png"}


def test_two_thousand_classes_leave_room_in_the_manifest() -> None:
    names = [f"class {number:04}" for number in range(2000)]
    evaluation = evaluate(
        _examples(names[:3]),
        [_prediction(name, 0.9, [one for one in names if one != name]) for name in names[:3]],
    )
    assert "confusion" not in evaluation.details
    assert len(json.dumps(dict(evaluation.details), indent=1)) < bundle.MAX_MANIFEST_BYTES / 4
    few = _evaluation("aab", "abb")
    assert few.details["confusion"] == [[1, 1], [0, 1]]
