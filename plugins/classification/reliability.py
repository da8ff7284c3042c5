"""Whether a confidence means what it says: of all answers given with 80 %, are 80 % right?

Confidences are sorted into bins of equally many images (equal mass): with bins of equal width nearly all
images of a good model stand in the last one, and the others hold a handful (Nixon et al.,
arXiv:1904.01685).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from plugins.classification.intervals import wilson

Floats = npt.NDArray[np.floating]

# A bin's share of right answers is uncertain by 1 / sqrt(images): with fewer than these the expected
# calibration error measures chance, so few images get few bins, down to one.
IMAGES_A_BIN = 15
MOST_BINS = 15
_DRAWS = 200


@dataclass(frozen=True)
class Bin:
    """Images of like confidence: their mean `confidence`, the `accuracy` of their answers with its 95 %
    interval `low` to `high`, and their number.
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class Reliability:
    """`ece` is the expected calibration error, the mean gap between confidence and accuracy weighted by
    images (Naeini et al., 2015), in 0..1; `chance` the one that 95 % of the models whose confidences are
    exactly true would stay below on so many images: a smaller `ece` is no evidence against the
    confidences.
    """

    ece: float
    chance: float
    mean_confidence: float
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values of the same names."""
        return {**asdict(self), "bins": [asdict(one) for one in self.bins]}


def reliability(confidences: Floats, right: npt.NDArray[np.bool_]) -> Reliability:
    """Judge the confidences (images, 0..1) of answers that were `right` or not. Zeros for no images."""
    if not len(confidences):
        return Reliability(0.0, 0.0, 0.0, ())
    order = np.argsort(confidences, kind="stable")
    sorted_confidences = confidences[order].astype(np.float64)
    count = min(max(len(order) // IMAGES_A_BIN, 1), MOST_BINS)
    edges = np.linspace(0, len(order), count + 1).round().astype(int)
    outcomes = _share_ties(sorted_confidences, right[order].astype(np.float64))
    drawn = np.random.default_rng(0).random((_DRAWS, len(order))) < sorted_confidences
    chance = [_ece(sorted_confidences, row, edges) for row in drawn.astype(np.float64)]
    bins = tuple(
        Bin(
            float(sorted_confidences[start:end].mean()),
            float(outcomes[start:end].mean()),
            *wilson(outcomes[start:end].sum(), end - start),
            end - start,
        )
        for start, end in pairwise(edges.tolist())
    )
    return Reliability(
        _ece(sorted_confidences, outcomes, edges),
        float(np.quantile(chance, 0.95)),
        float(sorted_confidences.mean()),
        bins,
    )


def brier(probabilities: Floats, targets: npt.NDArray[np.int64]) -> float:
    """The mean squared distance of the probabilities (images, classes) from the truth, 0 (perfect) to 2
    (Brier, 1950); 0 for no images. Classes beyond the columns have probability 0.
    """
    if not len(targets):
        return 0.0
    known = targets < probabilities.shape[1]
    given = np.zeros(len(targets))
    given[known] = probabilities[np.flatnonzero(known), targets[known]]
    return float(((probabilities**2).sum(1) - 2 * given + 1).mean())


def _ece(confidences: Floats, outcomes: Floats, edges: npt.NDArray[np.int64]) -> float:
    sizes = np.diff(edges)
    gaps = np.add.reduceat(confidences - outcomes, edges[:-1])
    return float(np.abs(gaps).sum() / sizes.sum())


def _share_ties(confidences: Floats, right: Floats) -> Floats:
    """The mean outcome among equal confidences, so that the order of the images changes nothing."""
    _, place, counts = np.unique(confidences, return_inverse=True, return_counts=True)
    shared: Floats = (np.bincount(place, right) / counts)[place]
    return shared
