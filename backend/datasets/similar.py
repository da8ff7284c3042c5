"""Images that look alike: a perceptual hash, and which of many hashes are near each other.

The hash is the signs of the lowest frequencies of the grey image, 239 bits that hardly change when the image
is scaled, compressed again or brightened, and the mean colour. `benchmarks/similar.py` measures it: copies of
one image (JPEG quality 30 to 60, 60 % size, 2 % cut off) differ in 30 bits or less (a few tiny textures in
more), different images of one kind in 50 or more. `NEAR` lies between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NEAR = 40  # bits of 239
NEAR_COLOUR = 12  # steps of 255, for each of the two colour differences
WANTED_SIDE = 128  # pixels that the decoder must leave for the hash to be exact
_SIDE, _KEPT, _LOW = 32, 16, 8
_BITS = 240  # with the mean brightness, which is always 0
_BUCKET = 32  # hashes of one bucket that are compared; only very uniform sets have more
_ENOUGH = 32
_ROWS = 10_000

Hashes = NDArray[np.uint64]  # one row of four words an image

_k, _n = np.arange(_KEPT)[:, None], np.arange(_SIDE)[None, :]
_COSINES = np.cos(np.pi * (2 * _n + 1) * _k / (2 * _SIDE))
# The 8 x 8 lowest frequencies come first: they are the most stable and make the first word.
_ORDER = np.argsort(
    [max(row, column) if max(row, column) >= _LOW else 0 for row in range(_KEPT) for column in range(_KEPT)],
    kind="stable",
)[:_BITS]


def perceptual_hash(image: Image.Image) -> str:
    """64 hex digits: 30 bytes of frequencies (all 0 for an image of one colour), then mean Cb and Cr."""
    small = image.convert("YCbCr").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    pixels = np.asarray(small, dtype=np.float64)
    waves = np.round(_COSINES @ pixels[:, :, 0] @ _COSINES.T, 3).ravel()[_ORDER]
    bits = waves > np.median(waves[1:])
    bits[0] = False  # the mean brightness says nothing
    colour = pixels[:, :, 1:].mean(axis=(0, 1)).round().astype(np.uint8)
    data: bytes = np.packbits(bits).tobytes() + colour.tobytes()
    return data.hex()


def parse(hashes: Sequence[str]) -> Hashes:
    """The hashes as rows of words."""
    data = b"".join(bytes.fromhex(text) for text in hashes)
    return np.frombuffer(data, dtype=">u8").astype(np.uint64).reshape(-1, 4)


def near_pairs(hashes: Hashes, limit: int = NEAR) -> NDArray[np.int64]:
    """Pairs of rows (smaller first, sorted) that differ in at most `limit` bits and hardly in colour.

    Candidates agree, but for one bit, in one of four parts of the first word, so that the work grows with
    the images and not with their square. All pairs are found that differ in at most 7 bits of the first
    word, and most of the others. An image that has met its copies a few dozen times looks no further: the
    groups are right all the same, and very uniform sets stay affordable.
    Images without any structure are in no pair: nothing is known of them but their colour.
    """
    waves = hashes.copy()
    waves[:, 3] &= ~np.uint64(0xFFFF)
    colours = hashes[:, 3].astype(np.int64)
    blank: NDArray[np.bool_] = np.max(waves, axis=1, initial=0) == 0
    met = np.zeros(len(hashes), dtype=np.int64)
    found = [np.empty((0, 2), dtype=np.int64)]
    for left, right in _candidates(hashes, met):
        near = np.bitwise_count(waves[left] ^ waves[right]).sum(axis=1) <= limit
        near &= ~blank[left]
        for shift in (0, 8):
            one, other = (colours[left] >> shift) & 0xFF, (colours[right] >> shift) & 0xFF
            near &= np.abs(one - other) <= NEAR_COLOUR
        pairs = np.stack([left[near], right[near]], axis=1)
        met += np.bincount(pairs.ravel(), minlength=len(met))
        found.append(np.sort(pairs, axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _candidates(
    hashes: Hashes, met: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    flips = np.array([0] + [1 << bit for bit in range(16)], dtype=np.uint64)
    for band in range(4):
        part = (hashes[:, 0] >> np.uint64(16 * band)) & np.uint64(0xFFFF)
        order = np.lexsort((hashes[:, 1], hashes[:, 0], part))
        ranked = part[order]
        for start in range(0, len(order), _ROWS):
            block = np.arange(start, min(start + _ROWS, len(order)))
            for flip in flips:
                rows = block[met[order[block]] < _ENOUGH]
                wanted = ranked[rows] ^ flip
                # With no bit flipped a row meets those behind it in its own bucket; each pair once.
                first = rows + 1 if flip == 0 else np.searchsorted(ranked, wanted, "left")
                number = np.clip(np.searchsorted(ranked, wanted, "right") - first, 0, _BUCKET)
                left = np.repeat(rows, number)
                within = np.arange(len(left)) - np.repeat(np.cumsum(number) - number, number)
                yield order[left], order[np.repeat(first, number) + within]


@dataclass(frozen=True)
class Likeness:
    """Which of many images are copies of each other.

    `pairs` as of `near_pairs`; `roots` gives each row the smallest row of its group. A group of more than a
    tenth of the images (and over 20) is no set of copies but one scene, such as a camera over a belt: its
    pairs are left out, its rows stand alone, and `uniform` has its size.
    """

    pairs: NDArray[np.int64]
    roots: NDArray[np.int64]
    uniform: tuple[int, ...]


def liken(hashes: Hashes) -> Likeness:
    """Find the copies among distinct images."""
    count = len(hashes)
    pairs = near_pairs(hashes)
    roots = _roots(count, pairs)
    sizes = np.bincount(roots, minlength=count)
    one_scene = sizes > max(20, count // 10)
    alone = np.arange(count)
    return Likeness(
        pairs=pairs[~one_scene[roots[pairs[:, 0]]]],
        roots=np.where(one_scene[roots], alone, roots),
        uniform=tuple(int(size) for size in sizes[one_scene]),
    )


def group_names(content_hashes: Sequence[str], perceptual_hashes: Sequence[str]) -> list[str]:
    """For each image the name of its group: the smallest content hash among its copies."""
    names = sorted(set(content_hashes))
    looks = dict(zip(content_hashes, perceptual_hashes, strict=True))
    roots = liken(parse([looks[name] for name in names])).roots
    group = {name: names[root] for name, root in zip(names, roots, strict=True)}
    return [group[content] for content in content_hashes]


def _roots(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row the smallest row that it is connected to by pairs."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for one, other in pairs.tolist():
        first, second = sorted((root(one), root(other)))
        parent[second] = first
    return np.array([root(row) for row in range(count)], dtype=np.int64)
