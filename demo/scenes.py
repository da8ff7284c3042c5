"""A flat drawing as a phone would take it: in front of a real photograph, tilted, blurred and noisy."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import data

from plugins.contract import Region

SIZE = (640, 480)
_BEHIND = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel")
Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Printed:
    """A text of a drawing: what it says and its box in pixels (left, top, right, bottom)."""

    text: str
    box: Box


def photographed(
    drawing: Image.Image, printed: Sequence[Printed], chance: random.Random
) -> tuple[bytes, tuple[Region, ...]]:
    """A JPEG of `SIZE` with the drawing in it, and its texts where they are then."""
    behind = _part(_photograph(chance.choice(_BEHIND)), chance)
    matrix = _view(drawing.size, chance)
    pixels = np.asarray(drawing)
    seen = cv2.warpPerspective(pixels, matrix, SIZE, flags=cv2.INTER_AREA)
    mask = cv2.warpPerspective(np.full(pixels.shape[:2], 255, np.uint8), matrix, SIZE)[..., None] / 255
    shadow = cv2.GaussianBlur(np.roll(mask[..., 0], (6, 5), (0, 1)), (0, 0), 8)[..., None]
    scene = behind * (1 - 0.5 * shadow) * (1 - mask) + seen * mask
    regions = (Region(_moved(one.box, matrix), one.text, shape="polygon") for one in printed)
    return _taken(scene, chance), tuple(regions)


@functools.cache
def _photograph(name: str) -> Pixels:
    return np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB"))


def _part(photograph: Pixels, chance: random.Random) -> npt.NDArray[np.float32]:
    """A part of a photograph, out of focus, as large as the picture."""
    height, width = photograph.shape[:2]
    across = chance.randint(width // 2, width - 1)
    down = min(across * SIZE[1] // SIZE[0], height)
    x, y = chance.randint(0, width - across), chance.randint(0, height - down)
    resized = cv2.resize(photograph[y : y + down, x : x + across], SIZE, interpolation=cv2.INTER_CUBIC)
    blurred = cv2.GaussianBlur(resized, (0, 0), chance.uniform(1.0, 3.0))
    return np.asarray(blurred, np.float32) * np.float32(chance.uniform(0.6, 1.0))


def _view(size: tuple[int, int], chance: random.Random) -> npt.NDArray[np.float64]:
    """From a drawing of that size to the picture: a little turned, seen a little from the side."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    angle, scale = np.radians(chance.gauss(0, 3.5)), chance.uniform(0.75, 1.05)
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = np.array(SIZE) / 2 + [chance.uniform(-40, 40), chance.uniform(-50, 50)]
    lean = np.array([[chance.uniform(-9, 9) for _ in range(2)] for _ in range(4)])
    placed = (corners - np.array(size) / 2) @ turn + middle + lean
    return np.asarray(cv2.getPerspectiveTransform(corners, placed.astype(np.float32)), np.float64)


def _moved(box: Box, matrix: npt.NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """The corners of a box of the drawing in the picture."""
    left, top, right, bottom = box
    corners = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]], np.float64)
    moved = cv2.perspectiveTransform(corners, matrix)[0].clip(0, SIZE).round(1).tolist()
    return tuple((x, y) for x, y in moved)


def _taken(scene: npt.NDArray[np.float64], chance: random.Random) -> bytes:
    """What the camera makes of it: light, focus, noise, compression."""
    lit = (scene - 128) * chance.uniform(0.8, 1.1) + 128 + chance.uniform(-25, 15)
    blurred = cv2.GaussianBlur(lit, (0, 0), chance.uniform(0.4, 1.3))
    noise = np.random.default_rng(chance.randrange(2**32)).normal(0, chance.uniform(1, 7), scene.shape)
    stream = BytesIO()
    picture = Image.fromarray(np.clip(blurred + noise, 0, 255).astype(np.uint8))
    picture.save(stream, "JPEG", quality=chance.randint(70, 92))
    return stream.getvalue()
