"""What the demo can show, one entry a type of dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from demo import materials, tags

_IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_LABELS = "Label.txt"  # PPOCRLabel's


class Unusable(Exception):
    """The user's folder cannot be shown; says in one sentence why, and what to do."""


@dataclass(frozen=True)
class Kind:
    """A type of dataset. `samples` makes a folder to upload and an image to predict in a folder for its work,
    `own` finds in the user's folder an image to predict or raises `Unusable`.
    """

    type: str
    algorithm: str
    budget: str
    samples: Callable[[Path], tuple[Path, Path]]
    own: Callable[[Path], Path]
    question: str


def _of_a_class(data: Path) -> Path:
    for path in _images(data):
        if path.parent.parent == data:
            return path
    raise Unusable(
        f"{data} holds no folders with images; put the images of each class into a folder of its name"
    )


def _labelled(data: Path) -> Path:
    """The first image with a VOC file beside it, or in a folder with PPOCRLabel's file."""
    for path in _images(data):
        if path.with_suffix(".xml").is_file() or path.with_name(_LABELS).is_file():
            return path
    raise Unusable(
        f"{data} holds no image with labels; put x.xml (VOC, the text in <name>) beside each image x, or "
        f"PPOCRLabel's {_LABELS} into its folder"
    )


def _images(data: Path) -> Iterator[Path]:
    """In order of their names. Raises `Unusable` where there is no folder."""
    if not data.is_dir():
        raise Unusable(f"{data} is no folder; name one that holds your images: make demo DATA=path")
    yield from sorted(path for path in data.rglob("*") if path.suffix.lower() in _IMAGES)


KINDS = {
    kind.type: kind
    for kind in (
        Kind(
            "classification",
            "classification-high-performance",
            "2m",
            materials.make,
            _of_a_class,
            "what is on",
        ),
        Kind("ocr", "ocr-high-performance", "3m", tags.make, _labelled, "what is written on"),
    )
}
"""By the type of dataset."""
