"""How far a measured figure may be from the truth, given that so few images were measured.

Overall figures get the percentile bootstrap (Efron, 1979): the images are drawn again, with replacement, a
thousand times, and the middle 95 % of the figures are the interval. Images are drawn within each class, so
that every draw measures the same classes, and near-duplicates together, because they tell the same thing
twice.

A bootstrap cannot draw what it has not seen: where all images are right it has no width, and a class with one
image never varies. So each interval is widened to Wilson's score interval (Wilson, 1927), which knows that 20
right of 20 are compatible with 84 %, for as many independent images as the figure is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]
Indices = npt.NDArray[np.int64]

DRAWS = 1000
_Z = 1.959964  # the two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Figures:
    """The figures that rank models, each in 0..1; means over the classes that have images."""

    accuracy: float
    balanced_accuracy: float
    macro_f1: float


def wilson(right: float, images: float) -> Interval:
    """The 95 % score interval of a share of `right` in `images` (real numbers >= 0); (0, 1) for no images."""
    if images <= 0:
        return 0.0, 1.0
    share, squared = right / images, _Z**2 / images
    middle = (share + squared / 2) / (1 + squared)
    half = _Z / (1 + squared) * np.sqrt(share * (1 - share) / images + squared / (4 * images))
    low = max(middle - half, 0.0) if right > 0 else 0.0  # exactly, whatever rounding says
    high = min(middle + half, 1.0) if right < images else 1.0
    return float(low), float(high)


def figures(truth: Indices, answers: Indices, classes: int, weights: npt.NDArray[np.floating]) -> Figures:
    """The figures of weighted images; `truth` and `answers` (images) are class indices. Zeros for none."""
    supports = np.bincount(truth, weights, minlength=classes)
    total = supports.sum()
    if not total:
        return Figures(0.0, 0.0, 0.0)
    hits = np.bincount(truth, weights * (truth == answers), minlength=classes)
    given = np.bincount(answers, weights, minlength=classes)
    there = supports > 0
    f1 = 2 * hits[there] / (supports + given)[there]
    return Figures(float(hits.sum() / total), float((hits[there] / supports[there]).mean()), float(f1.mean()))


def intervals(truth: Indices, answers: Indices, groups: Sequence[str], classes: int) -> dict[str, Interval]:
    """95 % intervals of `accuracy`, `balanced_accuracy` and `macro_f1`, the same for the same input.

    `groups` name near-duplicates; an empty name stands alone. (0, 1) for no images.
    """
    units, unit_classes = _units(truth, groups)
    if not len(truth):
        return dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1"), (0.0, 1.0))
    counts = np.bincount(unit_classes, minlength=classes)
    starts = np.cumsum(counts) - counts
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        places = random.random(len(unit_classes)) * counts[unit_classes]
        chosen = starts[unit_classes] + places.astype(np.int64)
        weights = np.bincount(chosen, minlength=len(unit_classes))[units]
        drawn.append(figures(truth, answers, classes, weights.astype(np.float64)))
    measured = figures(truth, answers, classes, np.ones(len(truth)))
    there = counts[counts > 0]
    # The variance of a mean over classes is that of a share of so many images: their harmonic mean a class.
    balanced = len(there) ** 2 / float((1 / there).sum())
    worth = {"accuracy": float(there.sum()), "balanced_accuracy": balanced, "macro_f1": balanced}
    return {name: _interval(name, measured, drawn, images) for name, images in worth.items()}


def _units(truth: Indices, groups: Sequence[str]) -> tuple[Indices, Indices]:
    """The unit that each image is drawn with, and the class of each unit; units are sorted by class."""
    names = [
        (int(label), 1, group) if group else (int(label), 0, str(place))
        for place, (label, group) in enumerate(zip(truth, groups, strict=True))
    ]
    order = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([order[name] for name in names], np.int64), np.array(
        [name[0] for name in order], np.int64
    )


def _interval(name: str, measured: Figures, drawn: Sequence[Figures], images: float) -> Interval:
    value = getattr(measured, name)
    low, high = np.percentile([getattr(one, name) for one in drawn], (2.5, 97.5))
    least, most = wilson(value * images, images)
    return float(min(low, least, value)), float(max(high, most, value))
