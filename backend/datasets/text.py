"""Datasets of text: which regions train, and what is wrong with those of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugins.boxes import clamp, has_area
from plugins.contract import Region
from plugins.regions import regions_from_json

JsonRegions = Sequence[Mapping[str, Any]]


def has_text(regions: JsonRegions) -> bool:
    """Whether a region with a transcription is among them that counts."""
    return any(region.get("text") and not region.get("ignored") for region in regions)


def trainable(regions: JsonRegions, width: int | None, height: int | None) -> tuple[Region, ...]:
    """The regions inside of the upright image of that size; those of which nothing is inside are left out."""
    found = regions_from_json(regions)
    if not width or not height:
        return found
    inside = (clamp(region, width, height)[0] for region in found)
    return tuple(region for region in inside if has_area(region))
