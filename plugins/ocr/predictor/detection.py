"""Where text stands: from an image to a map of probabilities, and from the map to quadrilaterals.

The map is that of DBNet (Liao et al., arXiv:1911.08947): high in the shrunk kernel of every text. A kernel's
smallest rectangle, moved outwards by area x unclip ratio / perimeter, is the text's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from plugins.ocr.predictor.network import Network, Pixels

Floats = npt.NDArray[np.float32]
Quads = npt.NDArray[np.float32]

_MOST_BOXES = 2_000  # of one image: the largest
_TILE = 800_000  # pixels; larger inputs are looked at in parts, so that memory does not grow with the page
_OVERLAP = 192  # pixels by which neighbouring parts overlap
_ENLARGED = 4.0  # at most; more shows nothing new
_SQUARE = np.ones((2, 2), np.uint8)


@dataclass(frozen=True)
class Sides:
    """How large an image is looked at. One whose shorter side is below `least` pixels is enlarged to it (four
    times at most); one whose longer side would be above `most` is reduced to it, but for a long strip, whose
    shorter side stays at `least` as long as it has no more pixels than a square of `most`.
    """

    least: int = 544
    most: int = 2_560

    def scale(self, width: int, height: int) -> float:
        """Factor from the image's pixels to those that the detector sees."""
        shorter, longer = min(width, height), max(width, height)
        factor = min(max(self.least / shorter, 1.0), _ENLARGED)
        strip = min(self.least / shorter, self.most / math.sqrt(shorter * longer), 1.0)
        return min(factor, max(self.most / longer, strip))


@dataclass(frozen=True)
class Thresholds:
    """What makes a text of a map. Pixels above `binarise` are kernels; a kernel whose mean probability is not
    above `box`, or whose shorter side is below `least_size` pixels of the map, is dropped.
    """

    binarise: float = 0.3
    box: float = 0.5
    unclip_ratio: float = 1.6
    least_size: float = 3.0

    def to_json(self) -> Mapping[str, float]:
        """What the manifest says of them."""
        return asdict(self)


@dataclass(frozen=True)
class Map:
    """Probabilities of an image of `width` x `height` pixels, as bytes (0 to 255) at the detector's scale; so
    they are small enough to be kept.
    """

    values: npt.NDArray[np.uint8]
    width: int
    height: int

    @property
    def factor(self) -> Floats:
        """From the map's pixels to the image's, across and down."""
        down, across = self.values.shape
        return np.array([self.width / across, self.height / down], np.float32)


@dataclass(frozen=True)
class Kernels:
    """The kernels of a map: centre, size (both n, 2, in pixels of the map), angle in degrees of the smallest
    rectangle around each, and its mean probability.
    """

    centres: Floats
    sizes: Floats
    angles: Floats
    scores: Floats


def probabilities(image: Pixels, network: Network, sides: Sides) -> Map:
    """Blue, green and red (height, width, 3) -> its map."""
    height, width = image.shape[:2]
    factor = sides.scale(width, height)
    step = network.input.multiple
    across, down = (max(step, round(side * factor / step) * step) for side in (width, height))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, (across, down), interpolation=method), np.uint8)
    values = np.empty((down, across), np.uint8)
    for seen, kept in _tiles(across, down, step):
        part = network.run(resized[seen][None])[0, 0]
        top, left = kept[0].start - seen[0].start, kept[1].start - seen[1].start
        size = kept[0].stop - kept[0].start, kept[1].stop - kept[1].start
        values[kept] = np.round(part[top : top + size[0], left : left + size[1]] * 255)
    return Map(values, width, height)


Window = tuple[slice, slice]


def _tiles(across: int, down: int, step: int) -> Iterator[tuple[Window, Window]]:
    """Windows that are looked at, and the part of each that counts: those parts cover everything once."""
    rows = columns = 1
    while (down / rows + _OVERLAP) * (across / columns + _OVERLAP) > _TILE and down * across > _TILE:
        if down / rows >= across / columns:
            rows += 1
        else:
            columns += 1
    for seen_down, kept_down in _spans(down, rows, step):
        for seen_across, kept_across in _spans(across, columns, step):
            yield (seen_down, seen_across), (kept_down, kept_across)


def _spans(length: int, count: int, step: int) -> Iterator[tuple[slice, slice]]:
    ends = [round(length * place / count / step) * step for place in range(count + 1)]
    margin = _OVERLAP // 2 // step * step
    for start, end in pairwise(ends):
        yield slice(max(start - margin, 0), min(end + margin, length)), slice(start, end)


def kernels(map: Map, binarise: float, least_size: float) -> Kernels:
    """The kernels of a map, the largest first."""
    mask = (map.values > binarise * 255).astype(np.uint8)
    # Closes gaps of one pixel, which would cut a text in two.
    mask = np.asarray(cv2.dilate(mask, _SQUARE), np.uint8)
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outer = [
        contour
        for contour, links in zip(contours, [] if hierarchy is None else hierarchy[0], strict=True)
        if links[3] < 0  # no hole in another one
    ]
    # Centre, size and angle of each, as OpenCV has them.
    found: list[Any] = [cv2.minAreaRect(contour) for contour in outer]
    found = [one for one in found if min(one[1]) >= least_size]
    found = sorted(found, key=lambda one: -one[1][0] * one[1][1])[:_MOST_BOXES]
    scores = [_score(map.values, np.asarray(cv2.boxPoints(one), np.float32)) for one in found]
    return Kernels(
        np.array([one[0] for one in found], np.float32).reshape(-1, 2),
        np.array([one[1] for one in found], np.float32).reshape(-1, 2),
        np.array([one[2] for one in found], np.float32),
        np.array(scores, np.float32),
    )


def _score(values: npt.NDArray[np.uint8], corners: Quads) -> float:
    """Mean probability inside a rectangle."""
    height, width = values.shape
    low = np.floor(corners.min(0)).astype(int).clip(0, [width - 1, height - 1])
    high = np.ceil(corners.max(0)).astype(int).clip(0, [width - 1, height - 1])
    part = values[low[1] : high[1] + 1, low[0] : high[0] + 1]
    mask = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(mask, [np.round(corners - low).astype(np.int32)], (1,))
    return float(np.asarray(cv2.mean(part, mask)).flat[0]) / 255


def unclipped(kernels: Kernels, ratio: float) -> Quads:
    """The rectangles of the texts (n, 4, 2), in pixels of the map; the first side is the one that is closest
    to running from left to right, its left end first.
    """
    area, perimeter = kernels.sizes.prod(1), 2 * kernels.sizes.sum(1)
    sizes = kernels.sizes + (2 * ratio * area / np.maximum(perimeter, 1e-6))[:, None]
    turn = np.radians(kernels.angles)
    along = np.stack([np.cos(turn), np.sin(turn)], 1) * sizes[:, :1] / 2
    across = np.stack([-np.sin(turn), np.cos(turn)], 1) * sizes[:, 1:] / 2
    corners = np.stack([-along - across, along - across, along + across, across - along], 1)
    # Angles of the first side in quarter turns, by which the corners have to be turned back.
    quarters = np.round(kernels.angles / 90).astype(int)
    places = (np.arange(4)[None] - quarters[:, None]) % 4
    turned = np.take_along_axis(corners, places[:, :, None], 1)
    return np.asarray(kernels.centres[:, None] + turned, np.float32)


def quadrilaterals(map: Map, thresholds: Thresholds) -> tuple[Quads, Floats]:
    """Corners (n, 4, 2) of the texts in pixels of the image, inside it, and their scores (n)."""
    found = kernels(map, thresholds.binarise, thresholds.least_size)
    kept = found.scores > thresholds.box
    corners = unclipped(found, thresholds.unclip_ratio)[kept] * map.factor
    return corners.clip(0, np.array([map.width, map.height], np.float32)), found.scores[kept]


def sides_of(model: Mapping[str, Any]) -> Sides:
    """From the manifest."""
    return Sides(int(model["least_side"]), int(model["most_side"]))


def thresholds_of(model: Mapping[str, Any]) -> Thresholds:
    """From the manifest."""
    return Thresholds(**{name: float(value) for name, value in model["thresholds"].items()})
