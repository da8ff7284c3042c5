"""Sets of labelled images as training sees them, read from folders."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from backend.datasets import similar
from backend.datasets.split import Item, split
from plugins import images
from plugins.contract import Example, Split
from tests.plugins.context import example

DATA = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "classification"
TEST = 0.2  # of the images, where the folder does not say which
_SIDES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class _Image:
    """One image: where it is, what it shows, and the side that the folder gives it, if any."""

    name: str
    label: str
    side: Split | None
    data: bytes
    looks: str

    @property
    def content_hash(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def read_set(folder: Path) -> tuple[list[Example], dict[str, bytes]]:
    """The examples of a set, sorted by key, and their bytes; what cannot be decoded is left out, as the
    product's check does it.

    The sides are those of `split.tsv` or of the folders `train`, `val` and `test`; a `val` without a `test`
    is the test side. Missing sides are cut off as the product does it: by content, stratified,
    near-duplicates together; a tenth for validation, and a fifth for test. Raises `ValueError` with a
    sentence.
    """
    found = [one for one in map(_read, *_listed(folder)) if one is not None]
    groups = similar.group_names([one.content_hash for one in found], [one.looks for one in found])
    group_of = {one.name: group for one, group in zip(found, groups, strict=True)}
    sides = _sides(found, group_of)
    for side in ("train", "validation", "test"):
        if side not in sides.values():
            raise ValueError(f"{folder} has no image to use for {side}; name a folder with more images")
    examples = [example(i.name, i.data, i.label, sides[i.name], group_of[i.name]) for i in found]
    return examples, {one.name: one.data for one in found}


def _listed(folder: Path) -> tuple[list[Path], list[str], list[Split | None]]:
    """The files of a set, their names, and the sides they are given. Raises `ValueError`."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name one with class folders, or train/ and val/")
    table = folder / "split.tsv"
    if table.is_file():
        rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:] if line]
        given = {row[0]: _SIDES.get(row[1].strip()) for row in rows if len(row) == 2}
        if len(given) < len(rows) or None in given.values():
            raise ValueError(f"{table} must have the columns file and split (train, val or test)")
    else:
        paths = [path.relative_to(folder) for path in folder.rglob("*") if _is_image(path)]
        given = {path.as_posix(): _SIDES.get(path.parts[0]) for path in paths if len(path.parts) > 1}
    if "test" not in given.values():
        given = {name: "test" if side == "validation" else side for name, side in given.items()}
    names = sorted(given)
    return [folder / name for name in names], names, [given[name] for name in names]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in images.EXTENSIONS and path.is_file()


def _read(path: Path, name: str, side: Split | None) -> _Image | None:
    """The image, or None where it cannot be used for training."""
    try:
        data = path.read_bytes()
        decoded = images.decode(data, wanted_side=similar.WANTED_SIDE)
    except (images.ImageError, OSError):
        return None
    parts = Path(name).parts
    label = parts[1] if parts[0] in _SIDES and len(parts) > 2 else parts[0]
    return _Image(name, label, side, data, similar.perceptual_hash(decoded.image))


def _sides(found: list[_Image], group_of: dict[str, str]) -> dict[str, Split]:
    """The side of each image by its name."""
    sides = {one.name: one.side for one in found if one.side is not None}
    if "validation" in sides.values() and len(sides) == len(found):
        return sides
    # Without any side both are cut off; else what is not test is divided.
    free = [one for one in found if one.side in (None, "train")]
    cut = split(
        [Item(group_of[one.name], one.label) for one in free], validation=0.1, test=0.0 if sides else TEST
    )
    return sides | {one.name: side for one, side in zip(free, cut, strict=True)}
