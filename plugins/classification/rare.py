"""Rare classes: they count more while a classifier is fitted, and what of that is too much is taken back.

Weights that raise the odds of a class in training raise them in the answers. A layer that had to learn from
overlapping classes then says "rare" too often and too surely, by the whole weight. One whose few images of
the class lie apart from the others does not: there the weights only make up for what regularisation takes
from few images. Most layers lie between the two, so cross-validation says how much is taken back; what was
measured stands in benchmarks/classification.md. Classes of equal size are left as they are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from plugins.classification.judging import Floats, Targets, judge
from plugins.spread import spread

_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_ENOUGH = 2000  # images that tell it: with hundreds of classes each one costs
_SMALLEST = 1e-9


def class_weights(targets: Targets, classes: int) -> Floats:
    """A weight a class, its mean over the images 1: rare classes count more, by the root of what full balance
    would give them, so that a few odd images do not rule.
    """
    counts = np.bincount(targets, minlength=classes)
    weights = 1 / np.sqrt(np.maximum(counts, 1))
    scaled: Floats = (weights / (weights[targets].mean() if len(targets) else 1)).astype(np.float32)
    return scaled


def share(probabilities: npt.NDArray[np.floating], targets: Targets, weights: Floats) -> float:
    """How much of the logarithms of the weights (classes) the scores are too high by: the share with the
    least log loss. `probabilities` (images, classes) are of images that the layer was not fitted on,
    `targets` their classes. 0 where all classes weigh the same.
    """
    if np.ptp(weights) == 0:
        return 0.0
    some = spread(len(targets), _ENOUGH)
    scores = np.log(np.maximum(probabilities[some], _SMALLEST))
    losses = [judge(scores - one * np.log(weights), targets[some]).log_loss for one in _SHARES]
    return _SHARES[int(np.argmin(losses))]


def lowered(probabilities: npt.NDArray[np.floating], too_high: Floats) -> npt.NDArray[np.float64]:
    """Probabilities (images, classes) from which the excess is taken; untouched where there is none."""
    if not too_high.any():
        return np.asarray(probabilities, np.float64)
    odds = probabilities * np.exp(-too_high.astype(np.float64))
    rows: npt.NDArray[np.float64] = odds / odds.sum(1, keepdims=True)
    return rows
