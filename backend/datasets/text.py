"""Datasets of text: which regions train, and what is wrong with those of an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.findings import Found
from backend.datasets.tables import Dataset, Image
from plugins.boxes import ROUNDING, clamp, has_area
from plugins.contract import Region
from plugins.regions import regions_from_json

_PAGE = 500  # images in memory at a time

JsonRegions = Sequence[Mapping[str, Any]]


def has_text(regions: JsonRegions) -> bool:
    """Whether a region with a transcription is among them that counts."""
    return any(region.get("text") and not region.get("ignored") for region in regions)


def trainable(regions: JsonRegions, width: int | None, height: int | None) -> tuple[Region, ...]:
    """The regions inside of the upright image of that size; those of which nothing is inside are left out."""
    found = regions_from_json(regions)
    if not width or not height:
        return found
    return tuple(_inside(found, width, height))


def misfit(row: Any) -> str:
    """Why the regions of an image cannot be its own: it has another size than they are about, or none of them
    lies inside of it. Empty where they can, and where the size is not known. `row` is an `Image`, or has its
    `regions`, both sizes of them and of the image.
    """
    told, real = (row.regions_width, row.regions_height), (row.width, row.height)
    if None in real:
        return ""
    if None not in told and told != real:
        about, size = (f"{width} x {height}" for width, height in (told, real))
        return f"its regions are about an image of {about} pixels, and it has {size}"
    regions = row.regions or ()
    if regions and not any(_inside(regions_from_json(regions), *real)):
        return f"none of its {len(regions):,} regions lies inside of it"
    return ""


def overview(session: Session, dataset: Dataset) -> list[Found]:
    """Findings about the regions of the images that would be trained on."""
    rows = session.execute(
        select(
            *(Image.key, Image.regions, Image.regions_width, Image.regions_height, Image.width, Image.height)
        )
        .where(
            Image.dataset_id == dataset.id,
            Image.state == "present",
            Image.usable,
            Image.skipped.is_(False),
            Image.regions.is_not(None),
        )
        .order_by(Image.key)
        .execution_options(yield_per=_PAGE)
    )
    return [found for row in rows for found in _of_image(row)]


def _of_image(row: Any) -> Iterator[Found]:
    if reason := misfit(row):
        yield Found("label_misfit", reason, row.key)
        return
    if outside := sum(_reaches_out(region, row.width, row.height) for region in row.regions):
        reason = f"{outside:,} of its {len(row.regions):,} regions reach beyond the image"
        yield Found("region_outside", reason, row.key)
    broken = sum(_has_lines(region) for region in row.regions)
    if broken:
        which = "one region" if broken == 1 else f"{broken:,} regions"
        yield Found("several_lines", f"the text of {which} holds a line break", row.key)


def _reaches_out(region: Mapping[str, Any], width: int, height: int) -> bool:
    right, bottom = width + ROUNDING, height + ROUNDING
    return any(not (-ROUNDING <= x <= right and -ROUNDING <= y <= bottom) for x, y in region["points"])


def _has_lines(region: Mapping[str, Any]) -> bool:
    return not region.get("ignored") and any(char in (region.get("text") or "").strip() for char in "\r\n")


def _inside(regions: Sequence[Region], width: int, height: int) -> Iterator[Region]:
    inside = (clamp(region, width, height)[0] for region in regions)
    return (region for region in inside if has_area(region))
