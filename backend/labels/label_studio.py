"""Label Studio's JSON export: a list of items with `data` and `annotations`; of JSON-MIN see `json_min`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from backend.labels import json_min
from backend.labels.jsonfile import Refused, array, number, text_of
from backend.labels.names import is_image_name, key_of
from backend.labels.records import MAX_REGIONS, Entry, Problem, Records, Sized
from plugins.contract import Label, Labeling, PluginError

_CONTROL = "choice"  # of the classification plugin's own configuration
_NAMES = ("key", "image")  # fields of an item's data that name its image, ours first


def read(data: bytes, labeling: Labeling, *, text: bool) -> Records:
    """An entry for each item that somebody has labelled. `labeling` is of the dataset's plugin; `text`: OCR.

    Of several annotations of an item the newest counts, one marked as ground truth before all others.
    """
    try:
        items = list(array(text_of(data)))
    except Refused as error:
        yield Problem(error.line, str(error))
        return
    for line, item in items:
        try:
            yield _entry(line, item, labeling, text)
        except Refused as error:
            yield Problem(line, str(error), _name(item))


def write(images: Iterable[Sized], labeling: Labeling, address: str, prefix: str = "") -> Iterator[bytes]:
    """The file in pieces; `address` is what comes before an image's key in its address (s3://BUCKET/), and
    `prefix` what comes before its name in its key.

    Raises `PluginError` where a plugin needs an image's size and it is not known.
    """
    empty = True
    for one in images:
        try:
            result = labeling.result_from_label(one.label, width=one.width, height=one.height)
        except PluginError as error:
            raise PluginError(error.code, f"{one.name}: {error}") from None
        item = {
            "data": {"image": address + key_of(one.name, prefix), "key": one.name},
            "annotations": [{"ground_truth": False, "was_cancelled": False, "result": result}],
            "meta": {"width": one.width, "height": one.height},
        }
        yield (b"[\n" if empty else b",\n") + json.dumps(item, allow_nan=False).encode()
        empty = False
    yield b"[]\n" if empty else b"\n]\n"


def _entry(line: int, item: Any, labeling: Labeling, text: bool) -> Entry:
    if json_min.is_item(item):
        item = {"data": json_min.data(item), "annotations": [json_min.annotation(item, text=text)]}
    name = _name(item)
    if not name:
        raise Refused("the item names no image in its data")
    annotations = item.get("annotations")
    if not isinstance(annotations, list):
        raise Refused("the item has no list of annotations; export it from Label Studio as JSON")
    submitted = [one for one in annotations if isinstance(one, dict) and not one.get("was_cancelled")]
    if not submitted:
        raise Refused("nobody has labelled the item, so its image stays as it is")
    best = max(submitted, key=_rank)
    result = best.get("result")
    if not isinstance(result, list) or not all(isinstance(one, dict) for one in result):
        raise Refused("the result of its annotation is no list of objects")
    if len(result) > 4 * MAX_REGIONS:
        raise Refused(f"its annotation has {len(result):,} results; at most {4 * MAX_REGIONS:,} are read")
    width, height = _size(item, result)
    label = _regions(result, labeling, width, height) if text else Label(_class(result))
    return Entry(name, label, line, width, height, _moment(best), _author(best))


def _regions(result: Sequence[Mapping[str, Any]], labeling: Labeling, width: int, height: int) -> Label:
    try:
        label = labeling.label_from_result(result, width=width, height=height)
    except (TypeError, ValueError, AttributeError):
        raise Refused("its annotation does not have the form that Label Studio writes") from None
    if result and not label.regions:
        raise Refused("its annotation has no region with a place and the size of the image")
    return label


def _class(result: Sequence[Mapping[str, Any]]) -> str:
    """The one class that is chosen: by the control of our own name, else by whichever chooses one alone."""
    chosen: dict[str, str] = {}
    for entry in result:
        value = entry.get("value")
        listed = value.get("choices") if isinstance(value, dict) else None
        listed = [listed] if isinstance(listed, str) else listed
        if entry.get("type") != "choices" or not isinstance(listed, list) or not listed:
            continue
        if len(listed) > 1 or not isinstance(listed[0], str) or not listed[0].strip():
            raise Refused("an image has one class, and its annotation does not choose exactly one")
        chosen[str(entry.get("from_name"))] = listed[0]
    if _CONTROL in chosen:
        return chosen[_CONTROL]
    if len(set(chosen.values())) != 1:
        raise Refused(f"an image has one class, and its annotation chooses {len(set(chosen.values()))}")
    return next(iter(chosen.values()))


def _name(item: Any) -> str:
    if json_min.is_item(item):
        item = {"data": json_min.data(item)}
    data = item.get("data") if isinstance(item, dict) else None
    if not isinstance(data, dict):
        return ""
    named = [data[field] for field in _NAMES if isinstance(data.get(field), str)]
    named += [value for value in data.values() if isinstance(value, str) and is_image_name(value)]
    return next(filter(None, named), "")


def _size(item: Mapping[str, Any], result: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    meta = item.get("meta")
    own = (meta.get("width"), meta.get("height")) if isinstance(meta, dict) else ()
    told = ((one.get("original_width"), one.get("original_height")) for one in result)
    for pair in (*told, own):
        sizes = [number(side) for side in pair]
        if len(sizes) == 2 and all(side is not None and side >= 1 for side in sizes):
            return int(sizes[0] or 0), int(sizes[1] or 0)
    return 0, 0


def _rank(annotation: Mapping[str, Any]) -> tuple[bool, str]:
    return annotation.get("ground_truth") is True, str(annotation.get("updated_at") or "")


def _moment(annotation: Mapping[str, Any]) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(annotation.get("updated_at")))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _author(annotation: Mapping[str, Any]) -> str:
    by = annotation.get("completed_by")
    if isinstance(by, dict):
        by = by.get("email") or by.get("id")
    return str(by)[:200] if isinstance(by, str | int) and not isinstance(by, bool) else ""
