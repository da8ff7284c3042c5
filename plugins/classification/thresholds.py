"""From what confidence on the answers of a class are right as often as the user wants.

The precision of a class above a confidence is read from images that the model has not seen. A few images a
class cannot carry that alone: three right of three say little. So the share of a class is shrunk towards what
the confidences of its own answers promise, which are calibrated, lowered by how much the answers of all
classes fall short of theirs; each counts like ten images. The share of all classes would be that of the
frequent ones, which says nothing of a rare one. Of this estimate a lower bound (Wilson, at three quarters of
a standard error) must reach the wanted precision, which makes up for choosing the least of many confidences.

With very few images no bound reaches 99 %, and a model that is never sure serves nobody: there an answer
counts whose own confidence is as high as the precision wanted, as long as what was seen does not
contradict it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Indices = npt.NDArray[np.int64]

# The confidences tried as thresholds: an answer that is rather wrong than right is never acted on.
LEVELS = np.concatenate([np.arange(50, 100) / 100, [0.995, 0.999]])
_WORTH = 10.0  # images that each prior counts for
_Z = 0.75
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Threshold:
    """The least `confidence` to act on a class, None when none is enough; of the images it was fitted on and
    that reach it, `images` were answered with this class and `right` of these rightly.
    """

    confidence: float | None
    images: int
    right: int


def fit(probabilities: Floats, targets: Indices, wanted: float) -> list[Threshold]:
    """A threshold a class from probabilities (images, classes) of unseen images and their classes.

    On these images each class reaches the wanted precision (a share) above its threshold, and a higher
    precision never gives a lower threshold. Without images the confidences are believed: `wanted` for all.
    """
    answers, confidences = probabilities.argmax(1), probabilities.max(1)
    right = answers == targets
    above = confidences[:, None] >= LEVELS.astype(np.float32)  # as the predictor compares them
    kept = _kept_promises(above, right, _beliefs(above, confidences))
    return [
        _threshold(above[own], right[own], kept * _beliefs(above[own], confidences[own]), wanted)
        for own in (answers == label for label in range(probabilities.shape[1]))
    ]


def _beliefs(above: npt.NDArray[np.bool_], confidences: Floats) -> Floats:
    """The precision above each level that the confidences promise; of no images the level itself."""
    counts = above.sum(0)
    promised: Floats = np.where(counts, (confidences[:, None] * above).sum(0) / np.maximum(counts, 1), LEVELS)
    return promised


def _kept_promises(above: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], promised: Floats) -> Floats:
    """Right answers above each level as a share of those promised, shrunk towards 1 and at most that."""
    counts, hits = above.sum(0), (above & right[:, None]).sum(0)
    kept: Floats = np.minimum((hits + _WORTH * promised) / ((counts + _WORTH) * promised), 1.0)
    return kept


def _threshold(
    above: npt.NDArray[np.bool_], right: npt.NDArray[np.bool_], prior: Floats, wanted: float
) -> Threshold:
    """`above` (images, levels) and `right` (images) of the images answered with one class; `prior` (levels)
    is the precision that is expected of them.
    """
    counts, hits = above.sum(0), (above & right[:, None]).sum(0)
    estimate = (hits + _WORTH * prior) / (counts + _WORTH)
    enough = _lower_bound(estimate, counts + _WORTH) >= wanted
    believed = (estimate >= wanted) & (wanted <= LEVELS)
    reached = (enough | believed) & (hits >= wanted * counts - _ROUNDING)
    if not reached.any():
        return Threshold(None, 0, 0)
    level = int(reached.argmax())
    return Threshold(float(LEVELS[level]), int(counts[level]), int(hits[level]))


def _lower_bound(shares: Floats, images: Floats) -> Floats:
    """The lower end of Wilson's score interval."""
    squared = _Z**2 / images
    half = _Z * np.sqrt(shares * (1 - shares) / images + squared / (4 * images))
    bound: Floats = (shares + squared / 2 - half) / (1 + squared)
    return bound
