"""Pages of rendered text (Pillow draws it with the font that matplotlib ships), and an untrained model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from plugins.contract import Example, Region, Split
from plugins.images import Decoded, Header

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
ASCII = "".join(chr(code) for code in range(33, 127))
Pixels = npt.NDArray[np.uint8]
WORDS = ("Cash", "Total sum", "Tax code", "Date", "Paid by card", "Change", "Net amount", "Sales")


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), size)


def page(
    texts: Sequence[tuple[int, int, str]], size: tuple[int, int] = (640, 480), height: int = 24
) -> Image.Image:
    """A white page with these texts, each with the left and the upper edge where it begins."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for left, top, text in texts:
        draw.text((left, top), text, fill=(20, 20, 20), font=font(height))
    return image


def form(number: int, split: Split = "train") -> tuple[Example, bytes]:
    """A page of lines whose last colon is marked as a text of its own."""
    texts, regions = [], []
    for place in range(8):
        words, top = WORDS[(number + place) % len(WORDS)], 20 + 55 * place
        colon = 40 + round(font(24).getlength(words)) + 20
        texts += [(40, top, words), (colon, top, ":")]
        for left, text in ((40, words), (colon, ":")):
            right = left + font(24).getlength(text)
            points = ((left, top + 2), (right, top + 2), (right, top + 26), (left, top + 26))
            regions.append(Region(tuple((float(x), float(y)) for x, y in points), text))
    stream = BytesIO()
    page(texts).save(stream, "PNG")
    data = stream.getvalue()
    found = Example(
        f"{split}-{number}.png",
        "e",
        len(data),
        f"{number:064d}",
        split,
        regions=tuple(regions),
        width=640,
        height=480,
    )
    return found, data


def decoded(image: Image.Image) -> Decoded:
    """As `plugins.images.decode` would give it."""
    return Decoded(image, *image.size, Header("PNG", "RGB", *image.size, 1, False))


def bgr(image: Image.Image) -> Pixels:
    """As the predictor's parts take it."""
    return np.asarray(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR), np.uint8)


def corners(left: float, top: float, right: float, bottom: float) -> npt.NDArray[np.float32]:
    """(4, 2), beginning at the upper left."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
