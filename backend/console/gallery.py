"""Images on the pages of a dataset: addresses, the places of their texts, and what was found about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

from sqlalchemy.orm import Session

from backend.console.texts import text
from backend.datasets import links, registry
from backend.datasets.overview import ENOUGH_IMAGES
from backend.datasets.tables import Dataset, Finding, Image
from backend.db import now
from backend.settings import Settings

PAGE = 48
_MANY_CLASSES = 12
_SHORT = 60
CONDITIONS = {
    "labelled": text("datasets.condition.labelled"),
    "unlabelled": text("datasets.condition.unlabelled"),
    "usable": text("datasets.condition.usable"),
    "kept_out": text("datasets.condition.kept_out"),
    "unchecked": text("datasets.condition.unchecked"),
    "skipped": text("datasets.condition.skipped"),
    "deleted": text("datasets.condition.deleted"),
}
"""What the state of an image may be, in words: the names of `registry.CONDITIONS`."""


@dataclass(frozen=True)
class Choice:
    """What a gallery is to show: any of them may be empty. `condition` is one of `CONDITIONS`; `after` is the
    key that the page before ended with.
    """

    label: str = ""
    condition: str = ""
    finding: str = ""
    after: str = ""


@dataclass(frozen=True)
class Picture:
    """An image with its addresses. `outlines` are points of polygons in an image of `image.regions_size`."""

    image: Image
    address: str
    thumbnail: str
    outlines: list[str]
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class ClassRow:
    """A class with its numbers; `query` is its name in an address, `short` at most 60 characters of it. The
    bar in a view box of 100 is `width` long, and from `part` on it stands for images that cannot be used.
    """

    label: str
    query: str
    short: str
    images: int
    usable: int
    width: str
    part: str
    part_width: str


@dataclass(frozen=True)
class Balance:
    """The classes from the largest to the smallest, and what is to be said of them: `few` of them have fewer
    usable images than `enough`. `columns` is an SVG path in a view box of 100 by 100, one column a class; it
    is empty where the bars beside the names show as much.
    """

    classes: list[ClassRow]
    few: int
    enough: int
    columns: str


def choice(asked: dict[str, str]) -> Choice:
    """What a query asks for; a condition that does not exist is none."""
    wanted = {name: asked.get(name, "") for name in ("label", "condition", "finding", "after")}
    if wanted["condition"] not in CONDITIONS:
        wanted["condition"] = ""
    return Choice(**wanted)


def pictures(session: Session, settings: Settings, dataset: Dataset, chosen: Choice) -> list[Picture]:
    """One page of images."""
    rows = registry.images(
        session,
        dataset,
        limit=PAGE,
        after=chosen.after or None,
        label=chosen.label or None,
        finding=chosen.finding or None,
        condition=chosen.condition or None,
    )
    found = registry.findings_of(session, dataset, rows) if rows else {}
    return [picture(settings, dataset, row, found.get(row.key, [])) for row in rows]


def picture(settings: Settings, dataset: Dataset, image: Image, findings: Sequence[Finding]) -> Picture:
    """Its addresses stay the same for a whole day, so that browsers keep what is there."""
    named = (settings, dataset, image, _tomorrow(now()) + timedelta(days=1))
    regions = (image.regions or []) if image.width and image.height else []
    return Picture(
        image,
        links.path(*named),
        links.thumbnail_path(*named),
        [" ".join(f"{x:.1f},{y:.1f}" for x, y in region["points"]) for region in regions],
        list(findings),
    )


def balance(classes: Sequence[dict[str, Any]]) -> Balance:
    """How many images each class has, from `registry.summary`."""
    ordered = sorted(classes, key=lambda row: (-row["images"], row["label"]))
    few = sum(row["usable"] < ENOUGH_IMAGES for row in ordered)
    most, width = max((row["images"] for row in ordered), default=1), 100 / max(1, len(ordered))
    rows = [_class_row(row["label"], row["images"], row["usable"], most) for row in ordered]
    tops = (f"V{100 - 100 * row['images'] / most:.2f}H{width * (n + 1):.2f}" for n, row in enumerate(ordered))
    drawn = f"M0 100{''.join(tops)}V100Z" if len(ordered) > _MANY_CLASSES else ""
    return Balance(rows, few, ENOUGH_IMAGES, drawn)


def _class_row(label: str, images: int, usable: int, most: int) -> ClassRow:
    width, part = 100 * images / most, 100 * usable / most
    short = label if len(label) <= _SHORT else f"{label[: _SHORT - 1]}…"
    bar = (f"{width:.1f}", f"{part:.1f}", f"{width - part:.1f}")
    return ClassRow(label, quote_plus(label), short, images, usable, *bar)


def _tomorrow(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
