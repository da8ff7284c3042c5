"""How far apart copies and different images are in the perceptual hash: where `NEAR` comes from.

python -m benchmarks.similar [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from backend.datasets.similar import NEAR, NEAR_COLOUR, Hashes, near_pairs, parse, perceptual_hash

_WAVES = ~np.array([0, 0, 0, 0xFFFF], dtype=np.uint64)


def _copies(image: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    width, height = image.size
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=50)
    yield "JPEG 50", Image.open(buffer)
    small = BytesIO()
    image.resize((max(32, width * 6 // 10), max(32, height * 6 // 10))).save(small, "JPEG", quality=30)
    yield "60 % JPEG 30", Image.open(small)
    yield "half size", image.resize((width // 2, height // 2))
    yield "brighter 15 %", ImageEnhance.Brightness(image).enhance(1.15)
    for cut in (0.01, 0.025):
        box = (int(width * cut), int(height * cut), int(width * (1 - cut)), int(height * (1 - cut)))
        yield f"cut {2 * cut:.0%}", image.crop(box)


def _sets(data: Path) -> Iterator[tuple[str, list[Image.Image]]]:
    for name in ("trashnet", "hymenoptera", "sign_digits"):
        paths = sorted((data / "classification" / name).rglob("*"))
        images = [p for p in paths if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
        if images:
            yield name, [Image.open(path).convert("RGB") for path in images]
    crops = []
    for name in ("brick", "grass", "gravel"):
        image = Image.open(BytesIO(files("skimage").joinpath("data", f"{name}.png").read_bytes()))
        crops += [
            image.convert("RGB").crop((x, y, x + 64, y + 64))
            for x in range(0, 512, 64)
            for y in range(0, 512, 64)
        ]
    yield "brick, grass, gravel at 64", crops


def _distances(one: Hashes, other: Hashes) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    bits = np.bitwise_count((one ^ other) & _WAVES).sum(axis=-1)
    colours = [
        np.abs((one[..., 3] >> shift & 0xFF).astype(int) - (other[..., 3] >> shift & 0xFF).astype(int))
        for shift in (np.uint64(0), np.uint64(8))
    ]
    return bits, np.maximum(*colours)


def _report(name: str, images: list[Image.Image]) -> None:
    hashes = parse([perceptual_hash(image) for image in images])
    rows, columns = np.triu_indices(len(hashes), 1)
    bits, _ = _distances(hashes[rows], hashes[columns])
    print(f"{name}: {len(images)} images; the nearest two differ in {np.sort(bits)[:5].tolist()} bits")
    print(f"  pairs found near: {len(near_pairs(hashes))}")
    found: dict[str, list[tuple[int, int]]] = {}
    for image, own in zip(images, hashes, strict=True):
        for change, copy in _copies(image):
            bits, colour = _distances(parse([perceptual_hash(copy)])[0], own)
            found.setdefault(change, []).append((int(bits), int(colour)))
    for change, pairs in found.items():
        distances = sorted(bits for bits, _ in pairs)
        near = sum(bits <= NEAR and colour <= NEAR_COLOUR for bits, colour in pairs) / len(pairs)
        middle, worst = distances[len(distances) // 2], distances[-1]
        print(f"  {change:14} median {middle:3}  worst {worst:3}  near {near:6.1%}")


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data"))
    )
    for name, images in _sets(parser.parse_args().data):
        _report(name, images)
    rows = np.random.default_rng(0).integers(0, 2**63, (100_000, 4)).astype(np.uint64)
    started = time.perf_counter()
    near_pairs(rows)
    print(f"near pairs among 100,000 different images: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
