"""Where regions lie: corners in pixels, rectangles as tools write them, and the edge of the image.

All of it is in pixels of the upright image, x to the right and y down. Percent of a width and percent of a
height are different lengths, so a rotated box must never be turned in percent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import atan2, cos, degrees, hypot, isfinite, radians, sin

from plugins.contract import Point, Region

# How far outside of the image is rounding rather than a mistake: tools round, and VOC counts from 1.
ROUNDING = 1.0  # pixels
DECIMALS = 3  # of a pixel; what remains of a way through percent and back is then equal again
MIN_AREA = 1.0  # square pixels


@dataclass(frozen=True)
class Rectangle:
    """Its upper left corner, its sides, and the clockwise turn about that corner in degrees (0 to < 360)."""

    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


def corners(box: Rectangle) -> tuple[Point, ...]:
    """Upper left, upper right, lower right, lower left in the box's own direction.

    A side below zero, as of a box that was drawn from right to left, is the same box from its other corner.
    """
    right_x, right_y = _direction(box.rotation)
    along = (box.width * right_x, box.width * right_y)
    down = (-box.height * right_y, box.height * right_x)
    upper_left = (box.x, box.y)
    upper_right = (box.x + along[0], box.y + along[1])
    lower_left = (box.x + down[0], box.y + down[1])
    lower_right = (upper_right[0] + down[0], upper_right[1] + down[1])
    if box.width < 0:
        upper_left, upper_right = upper_right, upper_left
        lower_left, lower_right = lower_right, lower_left
    if box.height < 0:
        upper_left, lower_left = lower_left, upper_left
        upper_right, lower_right = lower_right, upper_right
    return upper_left, upper_right, lower_right, lower_left


def rectangle(points: Sequence[Point], tolerance: float = 0.01) -> Rectangle | None:
    """The rectangle with these four corners; None if a corner lies more than `tolerance` pixels beside it."""
    if len(points) != 4:
        return None
    (x, y), upper_right, _, lower_left = points
    width, height = hypot(upper_right[0] - x, upper_right[1] - y), hypot(lower_left[0] - x, lower_left[1] - y)
    rotation = degrees(atan2(upper_right[1] - y, upper_right[0] - x)) % 360.0 if width else 0.0
    box = Rectangle(x, y, width, height, rotation if rotation < 360.0 else 0.0)
    far = max(hypot(a[0] - b[0], a[1] - b[1]) for a, b in zip(corners(box), points, strict=True))
    return box if far <= tolerance else None


def upright(x0: float, y0: float, x1: float, y1: float) -> tuple[Point, ...]:
    """The corners of the upright box between two opposite corners, whichever they are."""
    left, right, top, bottom = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    return (left, top), (right, top), (right, bottom), (left, bottom)


def bounds(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the upright box around the points."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return min(xs), min(ys), max(xs), max(ys)


def is_upright(points: Sequence[Point]) -> bool:
    """Whether the points are the corners of an upright box, starting at its upper left."""
    return len(points) == 4 and tuple(points) == upright(*points[0], *points[2])


def area(points: Sequence[Point]) -> float:
    """In square pixels, by the shoelace formula; of a line or a point it is 0."""
    turned = [*points[1:], *points[:1]]
    return abs(sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(points, turned, strict=True))) / 2


def hull(points: Sequence[Point]) -> tuple[Point, ...]:
    """The convex outline around points (Andrew's monotone chain), clockwise on the screen from its leftmost
    corner, the highest of several.
    """
    chain: list[Point] = []
    for way in (sorted(set(points)), sorted(set(points), reverse=True)):
        start = len(chain)
        for point in way:
            while len(chain) - start > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        chain.pop()  # the next chain begins with it
    return tuple(chain)


def _turn(a: Point, b: Point, c: Point) -> float:
    """Above 0 where the way from a by b to c turns clockwise on the screen."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def rounded(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points without what floating point has left of the way through percent."""
    # Adding zero makes 0.0 of -0.0.
    return tuple((round(x, DECIMALS) + 0.0, round(y, DECIMALS) + 0.0) for x, y in points)


def clamp(region: Region, width: int, height: int) -> tuple[Region, bool]:
    """The region with every corner moved into the image, and whether one lay more than `ROUNDING` outside.

    Corners are moved one by one, so their number and the reading direction stay. A rotated rectangle that is
    cut off is a polygon then. What lies wholly outside has no area afterwards: see `has_area`.
    """
    points = tuple(
        (min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in region.points
    )
    if points == region.points:
        return region, False
    pairs = zip(points, region.points, strict=True)
    outside = any(abs(a[0] - b[0]) > ROUNDING or abs(a[1] - b[1]) > ROUNDING for a, b in pairs)
    square = region.shape == "rectangle" and rectangle(points) is not None
    return replace(region, points=points, shape="rectangle" if square else "polygon"), outside


def has_area(region: Region) -> bool:
    """Whether there is anything in it to see: at least `MIN_AREA`."""
    return area(region.points) >= MIN_AREA


def is_finite(points: Sequence[Point]) -> bool:
    """Whether all coordinates are numbers that mean a place."""
    return all(isfinite(x) and isfinite(y) for x, y in points)


def turn_upright(points: Sequence[Point], orientation: int, width: int, height: int) -> tuple[Point, ...]:
    """Points of an image as it is stored, in the upright image of `width` x `height` pixels.

    `orientation` is that of EXIF (1 to 8, tag 0x0112 of the TIFF 6.0 specification): what `Pillow`'s
    `exif_transpose` does to the pixels. The order of the corners stays: the direction of reading turns too.
    """
    stored_width, stored_height = (height, width) if orientation >= 5 else (width, height)
    return tuple(_TURNS[orientation](x, y, stored_width, stored_height) for x, y in points)


_TURNS = {
    1: lambda x, y, w, h: (x, y),
    2: lambda x, y, w, h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, w, h: (x, h - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


def _direction(rotation: float) -> Point:
    """Cosine and sine, exact at right angles: an upright box must stay one."""
    quarter = {0.0: (1.0, 0.0), 90.0: (0.0, 1.0), 180.0: (-1.0, 0.0), 270.0: (0.0, -1.0)}
    turned = rotation % 360.0
    return quarter.get(turned) or (cos(radians(turned)), sin(radians(turned)))
