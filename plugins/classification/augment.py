"""Random views of a training image: one resampling for cut, turn, stretch and flip, one for colours.

Pillow and NumPy only, every random number from the generator that is passed in: views can be made in several
threads and are the same for the same seed. One view of 224 x 224 takes about 2 ms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from plugins.classification.preprocess import Pixels


@dataclass(frozen=True)
class Policy:
    """How far views may differ: `area` is the smallest share of the image that a cut keeps, `turn` the
    largest angle in degrees, `light` the largest change of brightness and contrast and `colour` that of
    saturation as factors; `flip` says whether a mirrored image keeps its class.
    """

    area: float = 0.3
    stretch: float = 4 / 3
    turn: float = 15.0
    light: float = 0.3
    colour: float = 0.3
    flip: bool = True


def view(image: Pixels, size: int, policy: Policy, random: np.random.Generator) -> Pixels:
    """A random view (size, size, 3) of an image (side, side, 3)."""
    matrix = _matrix(len(image), size, policy, random)
    turned = Image.fromarray(image).transform(
        (size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=(127, 127, 127)
    )
    saturated = ImageEnhance.Color(turned).enhance(1 + random.uniform(-policy.colour, policy.colour))
    return np.asarray(saturated.point(_lights(policy, random)))


def _matrix(side: int, size: int, policy: Policy, random: np.random.Generator) -> tuple[float, ...]:
    """The six numbers that map a pixel of the view to a place in the image."""
    area = random.uniform(policy.area, 1.0)
    ratio = math.exp(random.uniform(-1, 1) * math.log(policy.stretch) / 2)
    width, height = min(math.sqrt(area) * ratio, 1.0) * side, min(math.sqrt(area) / ratio, 1.0) * side
    middle_x = random.uniform(width, 2 * side - width) / 2
    middle_y = random.uniform(height, 2 * side - height) / 2
    angle = math.radians(random.uniform(-policy.turn, policy.turn))
    across = width / size * (-1 if policy.flip and random.random() < 0.5 else 1)
    down = height / size
    a, b = math.cos(angle) * across, -math.sin(angle) * down
    d, e = math.sin(angle) * across, math.cos(angle) * down
    half = size / 2
    return a, b, middle_x - (a + b) * half, d, e, middle_y - (d + e) * half


def _lights(policy: Policy, random: np.random.Generator) -> list[int]:
    """A table for each byte of each channel: contrast about the middle, then brightness."""
    contrast = 1 + random.uniform(-policy.light, policy.light)
    brightness = 1 + random.uniform(-policy.light, policy.light)
    values = ((np.arange(256) - 127.5) * contrast + 127.5) * brightness
    table: list[int] = np.clip(values + 0.5, 0, 255).astype(int).tolist()
    return table * 3
