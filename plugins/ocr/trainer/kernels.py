"""How far a detector's kernels lie inside of the boxes that a user has drawn.

A pretrained detector answers kernels of its own size, and people draw their boxes tighter or wider than those
that it has learned from. Asked for kernels of another size, training would first unlearn what it knows: on
receipts four epochs with the ratio of the paper, 0.4, took a point of detection F1 away, with 0.6, about what
is measured there, nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from plugins.ocr import geometry
from plugins.ocr.predictor import Thresholds
from plugins.ocr.predictor.detection import Map, kernels, unclipped
from plugins.ocr.targets import SHRINK

_ALIKE = 0.6  # overlap (IoU) from which on a kernel is taken to be that of a box
_ENOUGH = 20  # texts
_LEAST, _MOST = 0.3, 0.8
# Pixels by which a kernel is measured larger than it was asked for: drawing it takes in its outline; what
# `kernels` closes gaps with adds one more, which measuring between the middles of pixels takes away again.
_GROWN = 1.0


def shrink_ratio(maps: Sequence[Map], marked: Sequence[geometry.Quads], thresholds: Thresholds) -> float:
    """The ratio with which the kernels of these maps would have been made from the marked boxes (n, 4, 2), in
    pixels of the images: the median over the texts found; DBNet's where too few are.
    """
    ratios: list[float] = []
    for one, corners in zip(maps, marked, strict=True):
        ratios += _ratios(one, corners, thresholds)
    if len(ratios) < _ENOUGH:
        return SHRINK
    return float(np.clip(np.median(ratios), _LEAST, _MOST))


def _ratios(one: Map, corners: geometry.Quads, thresholds: Thresholds) -> list[float]:
    """Of each text found: the distance between box and kernel is area x (1 - ratio^2) / perimeter."""
    found = kernels(one, thresholds.binarise, thresholds.least_size)
    overlap = geometry.overlaps(unclipped(found, thresholds.unclip_ratio), corners / one.factor)
    ratios = []
    for place, text in zip(*(places.tolist() for places in np.nonzero(overlap >= _ALIKE)), strict=True):
        width, height = geometry.sides(corners[text] / np.float32(one.factor))
        distance = (min(width, height) - (float(found.sizes[place].min()) - _GROWN)) / 2
        ratios.append(float(np.sqrt(max(1 - distance * 2 * (width + height) / (width * height), 0.0))))
    return ratios
