"""What the detector shall answer: the shrunk kernel of every text, and where nothing is asked of it.

The targets of DBNet (Liao et al., arXiv:1911.08947, section 3.4) without its threshold map, which none of the
networks here has. docTR's `build_target` makes the same kernels, but always the threshold map with them, on
whole images of one size, and it knows no regions to be ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import pyclipper

SHRINK = 0.4
_LEAST_SIDE = 3.0  # pixels of the patch; smaller texts cannot be learned from


@dataclass(frozen=True)
class Target:
    """`kernels` (height, width) are 1 inside of text; where `counted` is 0 the answer does not matter."""

    kernels: npt.NDArray[np.uint8]
    counted: npt.NDArray[np.uint8]


def target(
    polygons: Sequence[npt.NDArray[np.float32]],
    ignored: Sequence[bool],
    size: tuple[int, int],
    ratio: float = SHRINK,
) -> Target:
    """The target of a patch of `size` (width, height) with these polygons (points, 2) in its pixels."""
    width, height = size
    kernels = np.zeros((height, width), np.uint8)
    counted = np.ones((height, width), np.uint8)
    for polygon, hidden in zip(polygons, ignored, strict=True):
        outline = np.round(polygon).astype(np.int32)
        kernel = None if hidden or _too_small(polygon) else shrink(polygon, ratio)
        if kernel is None:
            cv2.fillPoly(counted, [outline], (0,))
        else:
            cv2.fillPoly(kernels, [np.round(kernel).astype(np.int32)], (1,))
    return Target(kernels, counted)


def _too_small(polygon: npt.NDArray[np.float32]) -> bool:
    return min(cv2.minAreaRect(polygon)[1]) < _LEAST_SIDE


def shrink(polygon: npt.NDArray[np.float32], ratio: float = SHRINK) -> npt.NDArray[np.float32] | None:
    """The polygon with its sides moved inwards by area x (1 - ratio^2) / perimeter; None when nothing of it
    remains.
    """
    area = cv2.contourArea(polygon)
    distance = area * (1 - ratio**2) / max(cv2.arcLength(polygon, True), 1e-6)
    offset = pyclipper.PyclipperOffset()  # type: ignore[attr-defined, unused-ignore]
    # Clipper computes in integers: a hundredth of a pixel is fine enough.
    offset.AddPath(
        np.round(polygon * 100).astype(np.int64).tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON
    )
    found = offset.Execute(-distance * 100)
    if not found:
        return None
    largest = max(found, key=lambda path: abs(pyclipper.Area(path)))
    return np.asarray(largest, np.float32).reshape(-1, 2) / np.float32(100)
