"""From a decoded image to the network's input: one way, for training, evaluation and serving.

The whole image is scaled to a square, its sides not kept in proportion: what matters may stand at the edge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Input sizes and the shorter side of the images from which on each is worth its time.
SIZES: Mapping[int, int] = {224: 144, 160: 64, 128: 0}
PRECISE_SIZES: Mapping[int, int] = {288: 240, **SIZES}


def pixels(image: Image.Image, size: int) -> Pixels:
    """An RGB image of any size -> (size, size, 3) bytes."""
    if image.size != (size, size):
        # reducing_gap first averages whole pixels of images much larger than needed: faster, and not worse.
        image = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(image)


def batch(images: Sequence[Any], size: int) -> Pixels:
    """Images as `plugins.images.decode` returns them -> (images, size, size, 3) bytes."""
    rows = np.empty((len(images), size, size, 3), np.uint8)
    for row, decoded in zip(rows, images, strict=True):
        row[:] = pixels(decoded.image, size)
    return rows


def fitting_size(shorter_side: float, sizes: Mapping[int, int] = SIZES) -> int:
    """The network's input size in pixels for images of that shorter side: the first one whose least side (the
    value in `sizes`) it reaches.
    """
    return next(size for size, least in sizes.items() if shorter_side >= least)
