"""Perceptual hashes on real photographs, and the search for near ones."""

from __future__ import annotations

from importlib.resources import files
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from backend.datasets.similar import NEAR, Hashes, group_names, liken, near_pairs, parse, perceptual_hash


def _texture(name: str) -> Image.Image:
    with Image.open(BytesIO(files("skimage").joinpath("data", f"{name}.png").read_bytes())) as image:
        return image.convert("RGB")


def _crops(name: str) -> list[Image.Image]:
    image = _texture(name)
    return [image.crop((x, y, x + 128, y + 128)) for x in range(0, 512, 128) for y in range(0, 512, 128)]


def _hashes(images: list[Image.Image]) -> Hashes:
    return parse([perceptual_hash(image) for image in images])


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def _random(count: int, seed: int = 0) -> Hashes:
    return np.random.default_rng(seed).integers(0, 2**63, (count, 4)).astype(np.uint64)


def _flipped(row: Hashes, bits: list[int]) -> Hashes:
    changed = row.copy()
    for bit in bits:
        changed[bit // 64] ^= np.uint64(1 << (bit % 64))
    return changed


def test_pieces_of_one_texture_are_different_images() -> None:
    images = [crop for name in ("brick", "grass", "gravel") for crop in _crops(name)]
    assert len(near_pairs(_hashes(images))) == 0


@pytest.mark.parametrize("name", ["brick", "grass", "gravel"])
def test_copies_of_an_image_are_near(name: str) -> None:
    image = _texture(name)
    copies = [
        image,
        _jpeg(image, 40),
        image.resize((300, 300)),
        ImageEnhance.Brightness(image).enhance(1.1),
        ImageEnhance.Contrast(image).enhance(0.9),
        image.crop((4, 4, 508, 508)),
    ]
    roots = liken(_hashes(copies)).roots
    assert set(roots.tolist()) == {0}


def test_the_same_shape_in_another_colour_is_another_image() -> None:
    grey = _texture("brick").convert("L")
    red, blue = (
        Image.merge("RGB", parts) for parts in ((grey, grey.point(lambda v: v // 3), grey), (grey,) * 3)
    )
    assert len(near_pairs(_hashes([red, blue]))) == 0


def test_images_of_one_colour_are_near_to_nothing() -> None:
    blanks = [Image.new("RGB", (64, 64), colour) for colour in ("white", "white", "black", "red")]
    assert len(near_pairs(_hashes(blanks))) == 0


def test_a_hash_does_not_depend_on_anything_but_the_image() -> None:
    image = _texture("grass")
    assert perceptual_hash(image) == perceptual_hash(image.copy())
    assert len(perceptual_hash(image)) == 64


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(0, 63), max_size=7, unique=True),
    st.lists(st.integers(64, 191), max_size=33, unique=True),
)
def test_hashes_that_differ_in_few_bits_are_always_found(low: list[int], high: list[int]) -> None:
    rows = _random(200)
    rows[150] = _flipped(rows[20], low + high)
    assert near_pairs(rows).tolist() == [[20, 150]]


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(0, 239), min_size=NEAR + 1, max_size=60))
def test_hashes_that_differ_in_more_bits_never_are(bits: set[int]) -> None:
    rows = _random(50)
    rows[40] = _flipped(rows[20], [bit if bit < 192 else bit + 16 for bit in bits])
    assert len(near_pairs(rows)) == 0


def test_no_images_and_one_image_have_no_pairs() -> None:
    assert len(near_pairs(parse([]))) == 0
    assert len(near_pairs(_random(1))) == 0
    assert group_names([], []) == []


def test_groups_are_named_by_content_not_by_order() -> None:
    rows = _random(4)
    rows[3] = _flipped(rows[1], [5])
    looks = [row.astype(">u8").tobytes().hex() for row in rows]
    contents = ["b" * 64, "d" * 64, "c" * 64, "a" * 64]
    assert group_names(contents, looks) == ["b" * 64, "a" * 64, "c" * 64, "a" * 64]
    backwards = group_names(contents[::-1], looks[::-1])
    assert backwards[::-1] == group_names(contents, looks)


def test_equal_bytes_are_one_group() -> None:
    look = _random(1)[0].astype(">u8").tobytes().hex()
    assert group_names(["a", "a"], [look, look]) == ["a", "a"]


def test_a_uniform_scene_is_no_group() -> None:
    rows = np.repeat(_random(1), 60, axis=0)
    for number in range(60):
        rows[number] = _flipped(rows[number], [64 + number])
    likeness = liken(rows)
    assert likeness.uniform == (60,)
    assert likeness.roots.tolist() == list(range(60))
    assert len(likeness.pairs) == 0
