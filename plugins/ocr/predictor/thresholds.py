"""The thresholds of a detector, fitted to marked regions; on kept maps, so no network runs.

For a user's data they matter as much as the training: people draw boxes tighter or wider than those that the
base has learned from, and the unclip ratio says how wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from plugins.ocr import geometry
from plugins.ocr.predictor.detection import Kernels, Map, Thresholds, kernels, unclipped

Quads = npt.NDArray[np.float32]

BINARISE = (0.2, 0.3, 0.4)
BOX = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
UNCLIP_RATIOS = (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.3, 2.6)
_IOU = 0.5
_CLOSENESS = 0.2  # what the mean overlap of what is found counts beside F1: a reader wants whole characters


@dataclass(frozen=True)
class FittedThresholds:
    """The best thresholds, the detection F1 (IoU 0.5) that they reach on these maps, and the mean IoU of what
    they find.
    """

    thresholds: Thresholds
    f1: float
    iou: float


def fit_thresholds(
    maps: Sequence[Map],
    truth: Sequence[Quads],
    ignored: Sequence[Quads] | None = None,
) -> FittedThresholds:
    """Try all of the grid above on maps with the corners of their texts (n, 4, 2; pixels of the images).

    What lies mostly in `ignored` regions does not count. Among equals the one nearest to the usual ones wins.
    About 0.2 s for each map of fifty texts. Raises `ValueError` without maps or texts.
    """
    start = Thresholds()
    if not maps or not any(len(one) for one in truth):
        raise ValueError("thresholds are fitted to at least one image with a marked text")
    hidden = ignored or [np.zeros((0, 4, 2), np.float32)] * len(maps)
    best: tuple[tuple[float, float], FittedThresholds] | None = None
    total = sum(len(one) for one in truth)
    for binarise in BINARISE:
        found = [kernels(map, binarise, start.least_size) for map in maps]
        for ratio in UNCLIP_RATIOS:
            rows = [
                _overlaps(map, some, ratio, corners, other)
                for map, some, corners, other in zip(maps, found, truth, hidden, strict=True)
            ]
            for box in BOX:
                f1, iou = _score(rows, box, total)
                one = Thresholds(binarise, box, ratio, start.least_size)
                away = abs(binarise - start.binarise) + abs(box - start.box)
                key = (round(f1 + _CLOSENESS * iou, 4), -(away + abs(ratio - start.unclip_ratio)))
                if best is None or key > best[0]:
                    best = key, FittedThresholds(one, f1, iou)
    assert best is not None
    return best[1]


@dataclass(frozen=True)
class _Overlaps:
    """Scores of what was found, its overlap with each truth, and whether it counts."""

    scores: npt.NDArray[np.float32]
    overlap: geometry.Areas
    counted: npt.NDArray[np.bool_]


def _overlaps(map: Map, found: Kernels, ratio: float, truth: Quads, ignored: Quads) -> _Overlaps:
    size = np.array([map.width, map.height], np.float32)
    corners = (unclipped(found, ratio) * map.factor).clip(0, size).astype(np.float32)
    inside = geometry.intersections(corners, ignored).sum(1)
    return _Overlaps(
        found.scores,
        geometry.overlaps(corners, truth.astype(np.float32)),
        inside <= 0.5 * np.maximum(geometry.areas(corners), 1e-9),
    )


def _score(rows: Sequence[_Overlaps], box: float, total: int) -> tuple[float, float]:
    """F1 and mean IoU when what scores no more than `box` is dropped; each truth is found once at most."""
    right, answered, overlap = 0, 0, 0.0
    for one in rows:
        kept = one.scores > box
        answered += int((kept & one.counted).sum())
        some = one.overlap[kept]
        if not some.size:
            continue
        # The best truth of each answer, and of those only the best answer of each truth.
        best = some.argmax(1)
        values = some[np.arange(len(some)), best]
        highest = np.zeros(some.shape[1])
        np.maximum.at(highest, best, values)
        hits = highest[highest >= _IOU]
        right, overlap = right + len(hits), overlap + float(hits.sum())
    return 2 * right / max(answered + total, 1), overlap / max(right, 1)
