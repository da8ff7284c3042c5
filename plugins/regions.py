"""Labels and their regions as JSON: the form in which the index, snapshots and the history keep them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugins.contract import Label, Region


def to_json(region: Region) -> dict[str, Any]:
    """The region as JSON values, without the fields that say nothing."""
    data: dict[str, Any] = {"points": [[x, y] for x, y in region.points], "text": region.text}
    if region.shape != "rectangle":
        data["shape"] = region.shape
    if region.ignored:
        data["ignored"] = True
    for name in ("label", "id", "extra"):
        if value := getattr(region, name):
            data[name] = dict(value) if name == "extra" else value
    return data


def from_json(data: Mapping[str, Any]) -> Region:
    """The region that `to_json` wrote."""
    values = {name: value for name, value in data.items() if name != "points"}
    return Region(points=tuple((float(x), float(y)) for x, y in data["points"]), **values)


def label_to_json(label: Label) -> dict[str, Any]:
    """A whole label as JSON values."""
    return {"name": label.name, "regions": [to_json(region) for region in label.regions]}


def label_from_json(data: Mapping[str, Any]) -> Label:
    """The label that `label_to_json` wrote."""
    return Label(data["name"], regions_from_json(data["regions"]))


def regions_from_json(data: Sequence[Mapping[str, Any]]) -> tuple[Region, ...]:
    """The regions of a list of `to_json`'s."""
    return tuple(from_json(region) for region in data)
