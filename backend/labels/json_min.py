"""Label Studio's JSON-MIN: an item is its data and what each control says side by side; no region has an id.

What belongs to one region is told by its place; texts, which have none, by their order. Where that tells too
little, the item is refused: the full JSON says it all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.labels.jsonfile import Refused

_CHOICE, _TEXT, _MARK = "choice", "transcription", "legibility"  # of the plugins' own configurations
_META = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
_DATA = ("image", "key", "next", "ocr")  # of our items, and of Label Studio's template for text
_PLACE = ("x", "y", "width", "height", "rotation", "points")
_INSTEAD = "export it from Label Studio as JSON, not JSON-MIN"


def is_item(item: Any) -> bool:
    """Whether this is an item of JSON-MIN."""
    return isinstance(item, Mapping) and "annotation_id" in item and "annotations" not in item


def annotation(item: Mapping[str, Any], *, text: bool) -> dict[str, Any]:
    """The item's annotation in the form that the full JSON has for it. Raises `Refused`."""
    result = _regions(item) if text else [_class(item)]
    return {"result": result, "updated_at": item.get("updated_at"), "completed_by": item.get("annotator")}


def data(item: Mapping[str, Any]) -> dict[str, Any]:
    """What may be the item's data: its fields that are texts."""
    return {name: value for name, value in item.items() if name not in _META and isinstance(value, str)}


def _class(item: Mapping[str, Any]) -> dict[str, Any]:
    chosen = {
        name: value["choices"] if isinstance(value, Mapping) else value
        for name, value in item.items()
        if name not in (*_META, *_DATA) and (isinstance(value, str) or _is_choices(value))
    }
    name = _CHOICE if _CHOICE in chosen else next(iter(chosen), "")
    if not name:
        raise Refused("nobody has labelled the item, so its image stays as it is")
    if name != _CHOICE and len(chosen) > 1:
        named = ", ".join(map(repr, list(chosen)[:5]))
        raise Refused(f"any of its fields {named} may be its class; {_INSTEAD}")
    return {"type": "choices", "from_name": name, "value": {"choices": chosen[name]}}


def _is_choices(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("choices"), list)


def _regions(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    if _MARK in item:
        raise Refused(f"nothing tells which region its mark {_MARK!r} belongs to; {_INSTEAD}")
    placed = {name: value for name, value in item.items() if _all_placed(value)}
    order: dict[str, str] = {}  # place -> id; in the order of the control that has the most regions
    for entries in sorted(placed.values(), key=len, reverse=True):
        for entry in entries:
            order.setdefault(_place(entry), f"r{len(order) + 1}")
    result = [_entry(name, entry, order) for name, entries in placed.items() for entry in entries]
    texts = _texts(item)
    if not texts:
        return result
    if len(texts) != len(order) or max(map(len, placed.values()), default=0) != len(order):
        told = f"{len(texts)} texts of its {len(order)} regions"
        raise Refused(f"nothing tells which region each of the {told} belongs to; {_INSTEAD}")
    for said, region in zip(texts, order.values(), strict=True):
        result.append({"id": region, "type": "textarea", "from_name": _TEXT, "value": {"text": [said]}})
    return result


def _all_placed(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, dict) and ("points" in entry or "x" in entry) for entry in value)
    )


def _place(entry: Mapping[str, Any]) -> str:
    return repr([entry.get(name) for name in _PLACE])


def _entry(name: str, entry: dict[str, Any], order: Mapping[str, str]) -> dict[str, Any]:
    sizes: dict[str, Any] = {
        field: entry[field] for field in ("original_width", "original_height") if field in entry
    }
    kind = next((key for key in entry if key.endswith("labels")), "")
    shape = "polygon" if "points" in entry else "rectangle"
    return {"id": order[_place(entry)], "type": kind or shape, "from_name": name, "value": entry, **sizes}


def _texts(item: Mapping[str, Any]) -> Sequence[str]:
    """The texts of the regions: of our own control, else of the only one that has a list of them."""
    found: dict[str, list[str]] = {}
    for name, value in item.items():
        if isinstance(value, str) and name == _TEXT:
            found[name] = [value]
        elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
            found[name] = value
    if len(found) > 1:
        raise Refused(
            f"any of its fields {', '.join(map(repr, list(found)[:5]))} may be its texts; {_INSTEAD}"
        )
    return next(iter(found.values()), [])
