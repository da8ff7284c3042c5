"""Which of the weights that training passed through are kept."""

from __future__ import annotations

import numpy as np
import pytest

from plugins.classification.judging import Judgement
from plugins.classification.trainer.choice import better

START, BEST, USUAL, LESS, END = range(5)


def _judged(*means: float, mistakes: tuple[int, ...] = (0, 0, 0, 0, 0)) -> list[Judgement]:
    """Losses of 16 images about these means, each candidate with more ups and downs than the one before."""
    noise = np.tile([-0.1, 0.1], 8)
    losses = [mean + noise * (1 + 0.2 * place) for place, mean in enumerate(means)]
    return [
        Judgement(float(one.mean()), 1 - wrong / 16, 1.0, one)
        for one, wrong in zip(losses, mistakes, strict=False)
    ]


@pytest.mark.parametrize(
    ("means", "chosen"),
    [
        ((0.50, 0.40, 0.405, 0.45, 0.42), USUAL),  # the best is hardly better than what usually is
        ((0.50, 0.20, 0.41, 0.45, 0.42), BEST),
        ((0.50, 0.41, 0.40, 0.45, 0.20), END),
        (
            (0.40, 0.40, 0.41, 0.40, 0.42),
            USUAL,
        ),  # a loss within its error is none, and it gains on new images
        ((0.30, 0.40, 0.41, 0.20, 0.42), LESS),
        ((0.30, 0.10, 0.41, 0.35, 0.42), BEST),
    ],
)
def test_weights_are_changed_for_a_reason(means: tuple[float, ...], chosen: int) -> None:
    assert better(_judged(*means)) == chosen


def test_who_is_less_sure_but_as_often_right_is_gone_towards_a_part_of_the_way() -> None:
    means = (0.02, 0.12, 0.13, 0.10, 0.15)
    assert better(_judged(*means)) == LESS
    assert better(_judged(*means, mistakes=(1, 1, 2, 1, 1))) == LESS
    assert better(_judged(*means), part_way=False) == START


def test_who_makes_more_mistakes_or_fell_apart_is_left_for_the_start() -> None:
    assert better(_judged(0.02, 0.12, 0.13, 0.10, 0.15, mistakes=(0, 0, 0, 1, 0))) == START
    assert better(_judged(0.02, 3.0, 3.0, 2.0, 3.0)) == START


def test_a_single_validation_image_proves_nothing() -> None:
    alone = [Judgement(loss, 1.0, 1.0, np.array([loss])) for loss in (0.1, 0.9, 0.9, 0.9, 0.9)]
    assert better(alone) == USUAL


def test_a_training_cut_short_has_two_candidates() -> None:
    assert better(_judged(0.5, 0.2)) == BEST
    assert better(_judged(0.2, 0.5)) == START
