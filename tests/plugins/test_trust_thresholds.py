"""The least confidence from which on a class is right as often as wanted."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.classification.thresholds import Threshold, fit

Rows = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Probabilities of some images and their classes, from very good to useless models."""
    classes, images = draw(st.integers(2, 6)), draw(st.integers(0, 80))
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    targets = random.integers(0, draw(st.integers(1, classes)), images)
    scores = random.normal(size=(images, classes)) * draw(st.sampled_from([0.1, 1.0, 3.0]))
    scores[np.arange(images), targets] += draw(st.sampled_from([-2.0, 0.0, 2.0, 5.0]))
    odds = np.exp(scores)
    return odds / odds.sum(1, keepdims=True), targets


def _levels(fitted: list[Threshold]) -> list[float]:
    return [np.inf if one.confidence is None else one.confidence for one in fitted]


@settings(max_examples=60, deadline=None)
@given(rows(), st.floats(0.5, 0.999), st.floats(0.5, 0.999))
def test_more_precision_never_lowers_a_threshold(data: Rows, one: float, other: float) -> None:
    low, high = sorted((one, other))
    lenient, strict = (_levels(fit(*data, wanted)) for wanted in (low, high))
    assert all(before <= after for before, after in zip(lenient, strict, strict=True))


@settings(max_examples=60, deadline=None)
@given(rows(), st.floats(0.5, 0.999))
def test_the_images_it_was_fitted_on_reach_the_precision(data: Rows, wanted: float) -> None:
    probabilities, targets = data
    answers, confidences = probabilities.argmax(1), probabilities.max(1)
    for label, one in enumerate(fit(probabilities, targets, wanted)):
        if one.confidence is None:
            continue
        acted = (answers == label) & (confidences >= one.confidence)
        assert (one.images, one.right) == (acted.sum(), (acted & (targets == label)).sum())
        assert one.right >= wanted * one.images - 1e-6


def _answered(sure: list[float], right: list[bool], classes: int = 2) -> Rows:
    """Images all answered with class 0."""
    first = np.array(sure)[:, None]
    others = (1 - first) / (classes - 1)
    return np.concatenate([first, np.repeat(others, classes - 1, 1)], 1), np.where(right, 0, 1)


def test_without_images_the_confidences_are_believed() -> None:
    fitted = fit(np.empty((0, 3)), np.empty(0, np.int64), 0.95)
    assert fitted == [Threshold(0.95, 0, 0)] * 3


def test_a_few_validation_images_do_not_make_it_refuse_everything() -> None:
    for wanted in (0.95, 0.99):
        (one, _) = fit(*_answered([0.995] * 29, [True] * 29), wanted)
        assert one.confidence is not None and one.confidence <= 0.995 and one.images == 29


def test_many_right_answers_lower_the_threshold_below_the_wanted_precision() -> None:
    (one, _) = fit(*_answered(np.linspace(0.7, 1, 300).tolist(), [True] * 300), 0.95)
    assert one.confidence is not None and one.confidence < 0.9


def test_wrong_answers_raise_the_threshold_above_them() -> None:
    (one, _) = fit(*_answered([0.7] * 50 + [0.96] * 50, [False] * 50 + [True] * 50), 0.9)
    assert one.confidence is not None and 0.7 < one.confidence <= 0.96


def test_a_class_that_is_surely_wrong_is_never_acted_on() -> None:
    (one, _) = fit(*_answered([1.0] * 40, [False] * 40), 0.9)
    assert one == Threshold(None, 0, 0)


@pytest.mark.parametrize("wanted", [0.8, 0.9, 0.95])
def test_a_class_without_answers_must_be_as_sure_as_wanted(wanted: float) -> None:
    fitted = fit(*_answered([0.9] * 200, [True] * 200, classes=3), wanted)
    assert fitted[2].confidence == pytest.approx(wanted, abs=0.011)
    assert fitted[2].confidence is not None and fitted[2].confidence >= wanted
    assert fitted[2].images == 0


def test_a_class_without_answers_must_be_surer_where_the_confidences_are_too_high() -> None:
    fitted = fit(*_answered([0.9] * 200, [True] * 160 + [False] * 40, classes=3), 0.8)
    assert fitted[2].confidence is None or fitted[2].confidence > 0.85


def test_a_rare_class_is_not_trusted_for_what_the_frequent_one_has_right() -> None:
    """Of 1,000 answers 990 are the frequent class and right; two of four rare ones are, at 60 to 90 %."""
    sure = np.array([0.999] * 990 + [0.6, 0.7, 0.8, 0.9])
    targets = np.array([0] * 990 + [0, 0, 1, 1])
    rows = np.stack([sure, 1 - sure], 1)
    rows[990:] = rows[990:, ::-1]
    frequent, rare = fit(rows, targets, 0.9)
    assert frequent.confidence is not None and frequent.confidence <= 0.9
    assert rare.confidence is not None and rare.confidence >= 0.9


@pytest.mark.parametrize("wanted", [0.5, 0.999])
def test_the_bounds_of_the_parameter_work(wanted: float) -> None:
    assert len(fit(*_answered([0.6, 0.9], [True, False]), wanted)) == 2
