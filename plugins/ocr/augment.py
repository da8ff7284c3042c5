"""Views of text for training: where a camera could have stood, and what it could have done to the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from plugins.ocr import geometry

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True)
class Policy:
    """How far views may go. Angles in degrees; `turned` is the share of views upside down, `tilted`
    of those at any angle up to `tilt`; `scale` is the largest factor up and down.
    """

    angle: float = 2.5
    tilt: float = 15.0
    tilted: float = 0.15
    turned: float = 0.05
    scale: float = 1.5
    perspective: float = 0.04


def patch_matrix(
    centre: tuple[float, float],
    page: tuple[int, int],
    scale: float,
    size: tuple[int, int],
    policy: Policy,
    random: Random,
) -> Matrix:
    """The 3 x 3 matrix from pixels of a page of `page` (width, height) to those of a patch of `size`, showing
    the surroundings of `centre` at about `scale`, and as little as may be of what lies outside of the page.
    """
    factor = scale * math.exp(random.uniform(-1, 1) * math.log(policy.scale))
    stretch = math.exp(random.uniform(-1, 1) * math.log(1.1))
    angle = random.normal(0, policy.angle) if policy.angle else 0.0
    if random.random() < policy.tilted:
        angle += random.uniform(-policy.tilt, policy.tilt)
    if random.random() < policy.turned:
        angle += 180.0
    turn = math.radians(angle)
    cos, sin = math.cos(turn) * factor, math.sin(turn) * factor
    around = np.array([[cos * stretch, -sin, 0], [sin * stretch, cos, 0], [0, 0, 1]])
    x, y = (
        _middle(place, whole, part / factor, random)
        for place, whole, part in zip(centre, page, size, strict=True)
    )
    to_origin = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])
    back = np.array([[1, 0, size[0] / 2], [0, 1, size[1] / 2], [0, 0, 1.0]])
    whole_way: Matrix = _leaning(size, policy.perspective, random) @ back @ around @ to_origin
    return whole_way


def _middle(place: float, whole: float, part: float, random: Random) -> float:
    """Where the middle of a window of the length `part` goes, so that `place` is in it, but a little at most
    of what lies outside of the `whole`.
    """
    wanted = place + random.uniform(-0.35, 0.35) * part
    slack = 0.05 * part
    low, high = part / 2 - slack, whole - part / 2 + slack
    if low > high:
        low, high = high, low
        wanted = random.uniform(low, high)
    return float(min(max(wanted, low), high))


def _leaning(size: tuple[int, int], most: float, random: Random) -> Matrix:
    """Corners moved by up to `most` of the sides."""
    width, height = size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + random.uniform(-most, most, (4, 2)).astype(np.float32) * np.array(
        [width, height], np.float32
    )
    return np.asarray(cv2.getPerspectiveTransform(corners, moved.astype(np.float32)), np.float64)


def line_matrix(
    corners: npt.NDArray[np.float32], size: tuple[int, int], amount: float, random: Random
) -> Matrix:
    """The matrix from a picture to a line of `size` (width, height): the quadrilateral `corners` (4, 2) with
    each corner moved by up to `amount` of the line's height, as boxes found or drawn by hand lie.
    """
    width, height = size
    across = float(np.linalg.norm(corners[3] - corners[0]))
    common = random.uniform(-amount, amount, (1, 2)) + random.uniform(-0.4, 0.4, (4, 2)) * amount
    along = np.array([[-1, 0], [1, 0], [1, 0], [-1, 0]]) * random.uniform(-0.3, 1.0) * amount
    moved = corners + ((common + along) * across).astype(np.float32)
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(moved.astype(np.float32), target), np.float64)


def warp(image: Pixels, matrix: Matrix, size: tuple[int, int], random: Random | None = None) -> Pixels:
    """The picture seen through the matrix; what lies outside continues its edge, or is of one colour."""
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:2, :2]))))
    image, matrix = _looked_at(image, matrix, size, 2 + round(1 / max(scale, 1e-3)))
    if scale < 0.6:  # every pixel of the target stands for several: average before, or thin strokes vanish
        image = cv2.blur(image, (round(1 / scale),) * 2).astype(np.uint8)
    plain = random is not None and random.random() < 0.5
    colour = tuple(int(value) for value in random.integers(0, 256, 3)) if plain and random else (0, 0, 0)
    border = cv2.BORDER_CONSTANT if plain else cv2.BORDER_REPLICATE
    seen = cv2.warpPerspective(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=colour
    )
    return np.asarray(seen, np.uint8)


def _looked_at(image: Pixels, matrix: Matrix, size: tuple[int, int], margin: int) -> tuple[Pixels, Matrix]:
    """The part of the picture that is seen, with a margin, and the matrix from there."""
    width, height = size
    target = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    seen = cv2.perspectiveTransform(target, np.linalg.inv(matrix))[0].astype(np.float32)
    part, low = geometry.around(image, seen, margin)
    return part, matrix @ np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1]], np.float64)


def camera(image: Pixels, random: Random) -> Pixels:
    """Light, contrast, colour, focus, noise and compression, each in some of the pictures."""
    result = image.astype(np.float32)
    if random.random() < 0.6:
        gain, lift = random.uniform(0.6, 1.4), random.uniform(-40, 40)
        result = (result - 128) * gain + 128 + lift
    if random.random() < 0.3:
        result = result * random.uniform(0.85, 1.15, 3).astype(np.float32)
    if random.random() < 0.2:
        result = _lit_from_one_side(result, random)
    if random.random() < 0.3:
        result = _blurred(result, random)
    if random.random() < 0.3:
        result = result + random.normal(0, random.uniform(2, 12), result.shape).astype(np.float32)
    bytes_ = np.clip(result, 0, 255).astype(np.uint8)
    if random.random() < 0.1:
        bytes_ = np.repeat(cv2.cvtColor(bytes_, cv2.COLOR_BGR2GRAY)[..., None], 3, axis=2).astype(np.uint8)
    if random.random() < 0.25:
        quality = int(random.integers(30, 90))
        coded = cv2.imencode(".jpg", bytes_, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        bytes_ = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
    return bytes_


def _lit_from_one_side(image: npt.NDArray[np.float32], random: Random) -> npt.NDArray[np.float32]:
    height, width = image.shape[:2]
    low, high = sorted(random.uniform(0.5, 1.3, 2))
    ramp = np.linspace(low, high, width if random.random() < 0.5 else height, dtype=np.float32)
    if random.random() < 0.5:
        ramp = ramp[::-1]
    return np.asarray(
        image * (ramp[None, :, None] if len(ramp) == width else ramp[:, None, None]), np.float32
    )


def _blurred(image: npt.NDArray[np.float32], random: Random) -> npt.NDArray[np.float32]:
    """Out of focus, or moved while it was taken."""
    if random.random() < 0.6:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(0.4, 1.6)), np.float32)
    length = int(random.integers(2, 5))
    kernel = np.zeros((length, length), np.float32)
    if random.random() < 0.5:
        kernel[length // 2] = 1 / length
    else:
        kernel[:, length // 2] = 1 / length
    return np.asarray(cv2.filter2D(image, -1, kernel), np.float32)
