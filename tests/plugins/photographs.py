"""Small real photographs for tests: crops of three materials, taken from scikit-image's wheel."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

from plugins.contract import Example, Split
from tests.plugins.context import example

MATERIALS = ("brick", "grass", "gravel")


@cache
def _photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)())


def crop(name: str, number: int, side: int = 96) -> Image.Image:
    """A square cut of the photograph, another place for each number."""
    photograph = _photograph(name)
    across = photograph.width // side
    x, y = number % across * side, number // across % across * side
    return photograph.crop((x, y, x + side, y + side))


def encode(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def materials(train: int, validation: int) -> tuple[list[Example], dict[str, bytes]]:
    """So many images of each material, and their bytes by key."""
    examples, data = [], {}
    for name in MATERIALS:
        for number in range(train + validation):
            split: Split = "train" if number < train else "validation"
            key = f"{name}/{number}.jpg"
            data[key] = encode(crop(name, number))
            examples.append(example(key, data[key], name, split))
    return examples, data


def upright_colours(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """So many images (count, 64, 64, 3) of random bytes."""
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8)
