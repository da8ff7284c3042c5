"""Where regions lie: rectangles and their corners, the edge of the image, EXIF orientation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from plugins import boxes
from plugins.boxes import Rectangle
from plugins.contract import Region

sides = st.floats(1, 3000)
places = st.floats(-2000, 5000)
turns = st.floats(0, 359.99) | st.sampled_from([0.0, 45.0, 90.0, 180.0, 270.0])


@given(places, places, sides, sides, turns)
def test_a_rectangle_is_found_again_in_its_corners(
    x: float, y: float, width: float, height: float, rotation: float
) -> None:
    box = Rectangle(x, y, width, height, rotation)
    again = boxes.rectangle(boxes.corners(box))
    assert again is not None
    assert (again.x, again.y) == (x, y)
    assert (again.width, again.height) == pytest.approx((width, height))
    turned = abs(again.rotation - rotation)
    assert min(turned, 360 - turned) < 1e-4


def test_rotation_is_clockwise_about_the_upper_left_corner() -> None:
    assert boxes.corners(Rectangle(100, 50, 40, 10, 90)) == ((100, 50), (100, 90), (90, 90), (90, 50))
    assert boxes.corners(Rectangle(100, 50, 40, 10, 180)) == ((100, 50), (60, 50), (60, 40), (100, 40))


def test_a_box_drawn_backwards_is_the_same_box() -> None:
    assert boxes.corners(Rectangle(50, 40, -30, -20)) == boxes.corners(Rectangle(20, 20, 30, 20))
    assert boxes.upright(50, 40, 20, 20) == boxes.corners(Rectangle(20, 20, 30, 20))


@pytest.mark.parametrize(
    "points",
    [
        ((0, 0), (10, 0), (12, 5), (0, 5)),  # a corner off
        ((0, 0), (0, 5), (10, 5), (10, 0)),  # mirrored: no turn makes it
        ((0, 0), (10, 0), (10, 5)),
    ],
)
def test_what_is_no_rectangle_is_not_taken_for_one(points: tuple[tuple[float, float], ...]) -> None:
    assert boxes.rectangle(points) is None


@given(st.lists(st.tuples(places, places), min_size=3, max_size=12))
def test_clamping_brings_every_corner_inside_and_once_is_enough(points: list[tuple[float, float]]) -> None:
    region = Region(tuple(points), "x", shape="polygon")
    inside, moved = boxes.clamp(region, 640, 480)
    assert all(0 <= x <= 640 and 0 <= y <= 480 for x, y in inside.points)
    assert len(inside.points) == len(points)
    assert boxes.clamp(inside, 640, 480) == (inside, False)
    far = any(x < -1 or x > 641 or y < -1 or y > 481 for x, y in points)
    assert moved == far


def test_a_rounding_outside_is_mended_without_a_word() -> None:
    inside, moved = boxes.clamp(Region(boxes.upright(-0.5, 0, 100.4, 20)), 100, 50)
    assert (inside.points, moved, inside.shape) == (boxes.upright(0, 0, 100, 20), False, "rectangle")


def test_a_rotated_rectangle_that_is_cut_off_is_a_polygon() -> None:
    region = Region(boxes.corners(Rectangle(90, 10, 30, 10, 30)))
    inside, moved = boxes.clamp(region, 100, 50)
    assert moved
    assert inside.shape == "polygon"


def test_what_lies_wholly_outside_has_no_area() -> None:
    inside, moved = boxes.clamp(Region(boxes.upright(200, 10, 260, 30)), 100, 50)
    assert moved
    assert not boxes.has_area(inside)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_turn_as_the_pixels_do(orientation: int) -> None:
    stored = np.zeros((20, 30), np.uint8)
    stored[4:7, 11:17] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    upright = ImageOps.exif_transpose(image)
    points = boxes.turn_upright(boxes.upright(11, 4, 17, 7), orientation, *upright.size)
    rows, columns = np.nonzero(np.asarray(upright))
    found = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert boxes.bounds(points) == tuple(map(float, found))
