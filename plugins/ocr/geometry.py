"""Quadrilaterals of text: corners in reading order, and how far they overlap."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from plugins.contract import Point, Region

Pixels = npt.NDArray[np.uint8]
Quads = npt.NDArray[np.float32]
Areas = npt.NDArray[np.float64]


def quad(points: Sequence[Point]) -> Quads:
    """The four corners of a region (4, 2), clockwise as they are seen: its own, where these run the other way
    round from the same first corner, or those of the smallest rectangle around a polygon, then beginning at
    the corner nearest to the upper left.
    """
    corners = np.asarray(points, np.float32).reshape(-1, 2)
    if len(corners) == 4:
        # Drawn counter-clockwise, as outlines often are, the text would be cut out as its mirror image.
        return corners if _turns(corners) >= 0 else corners[[0, 3, 2, 1]]
    box = np.asarray(cv2.boxPoints(cv2.minAreaRect(corners)), np.float32)
    return np.roll(box, -int(box.sum(1).argmin()), axis=0)


def quads(regions: Sequence[Region]) -> Quads:
    """The corners of all regions: (n, 4, 2)."""
    return np.array([quad(region.points) for region in regions], np.float32).reshape(-1, 4, 2)


def around(pixels: Pixels, points: Quads, margin: float) -> tuple[Pixels, npt.NDArray[np.intp]]:
    """The part of a picture that holds the points (n, 2) with a margin in pixels, and where it begins (2):
    OpenCV warps no picture with a side of 32,767 pixels or more, and of a part there is less to average.
    """
    bounds = np.array(pixels.shape[1::-1])
    low = np.clip(np.floor(points.min(0) - margin).astype(int) - 2, 0, bounds - 1)
    high = np.clip(np.ceil(points.max(0) + margin).astype(int) + 3, low + 1, bounds)
    return pixels[low[1] : high[1], low[0] : high[0]], low


def sides(corners: Quads) -> tuple[float, float]:
    """Width and height of one quadrilateral, along the reading direction and across it, in pixels."""
    top, right, bottom, left = np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1)
    return float(max(top, bottom)), float(max(left, right))


def areas(corners: Quads) -> Areas:
    """Areas (n) of convex quadrilaterals (n, 4, 2)."""
    return np.abs(_turns(corners)) / 2


def _turns(corners: Quads) -> Areas:
    """Twice the areas (...) of quadrilaterals (..., 4, 2) by the shoelace formula, above 0 where the corners
    run clockwise on a screen, whose rows count downwards.
    """
    x, y = (corners[..., axis].astype(np.float64) for axis in (0, 1))
    doubled: Areas = (x * np.roll(y, -1, -1) - y * np.roll(x, -1, -1)).sum(-1)
    return doubled


def intersections(first: Quads, second: Quads) -> Areas:
    """Areas (n, m) that each of the first shares with each of the second. Only pairs whose upright bounding
    boxes touch are looked at, so a thousand boxes a side take a moment.
    """
    shared = np.zeros((len(first), len(second)))
    if not shared.size:
        return shared
    low, high = first.min(1)[:, None], first.max(1)[:, None]
    touching = ((low < second.max(1)[None]) & (second.min(1)[None] < high)).all(2)
    for one, other in zip(*(places.tolist() for places in np.nonzero(touching)), strict=True):
        shared[one, other] = cv2.intersectConvexConvex(first[one], second[other])[0]
    return shared


def overlaps(first: Quads, second: Quads) -> Areas:
    """Intersection over union (n, m)."""
    shared = intersections(first, second)
    union = areas(first)[:, None] + areas(second)[None] - shared
    over: Areas = shared / np.maximum(union, 1e-9)
    return over
