"""COCO JSON: `images`, `annotations` and `categories`, as pycocotools, CVAT and Label Studio write them.

For classification the category is the class, for OCR the kind of region, and the text stands in one of
several fields, for COCO itself has none. What COCO cannot say stands in a field `sightloop` that others skip.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from backend.labels.jsonfile import Refused, arrays, number, text_of
from backend.labels.records import MAX_REGIONS, Entry, Problem, Records, Sized
from plugins.boxes import Rectangle, area, bounds, corners, hull, rectangle, rounded, upright
from plugins.contract import Label, Point, Region

_TEXTS = ("text", "utf8_string", "transcription", "caption")  # ours, COCO-Text, PaddleOCR, COCO captions
Annotations = list[tuple[int, dict[str, Any]]]
_AS_LARGE = 1.02  # times its polygons' areas: how large an outline around them is that loses nothing
_PLACELESS = "Text"  # the category of regions that have no kind: COCO wants one


def read(data: bytes, *, text: bool) -> Records:
    """An entry for each image with an annotation, and a problem for what cannot be taken. `text`: for OCR.

    A file that is cut off or hostile is one problem and no entry.
    """
    try:
        found = arrays(text_of(data))
        missing = [name for name in ("images", "annotations") if name not in found]
        if missing:
            raise Refused(f"it is no COCO file: it has no list {missing[0]!r}", 1)
    except Refused as error:
        yield Problem(error.line, str(error))
        return
    names = {
        each["id"]: each["name"]
        for _, each in found.get("categories", ())
        if isinstance(each, dict) and isinstance(each.get("name"), str) and _is_id(each.get("id"))
    }
    yield from _images(found, names, text)


def _images(found: dict[str, list[tuple[int, Any]]], names: Mapping[Any, str], text: bool) -> Records:
    of: dict[Any, list[tuple[int, dict[str, Any]]]] = {}
    for line, each in found["annotations"]:
        if isinstance(each, dict) and _is_id(each.get("image_id")):
            of.setdefault(each["image_id"], []).append((line, each))
        else:
            yield Problem(line, "the annotation names no image")
    for line, each in found["images"]:
        yield from _image(line, each, of, names, text)
    for rest in of.values():
        yield Problem(rest[0][0], f"{len(rest):,} annotations are of an image that the file does not list")


def write(images: Iterable[Sized]) -> Iterator[bytes]:
    """The file in pieces; annotations follow the images, so that much is held."""
    categories: dict[str, int] = {}
    annotations: list[bytes] = []
    yield b'{"images": ['
    for place, one in enumerate(images, 1):
        own = {"empty": True} if one.label.name is None and not one.label.regions else {}
        listed = {"id": place, "file_name": one.name, "width": one.width, "height": one.height}
        yield (b"," if place > 1 else b"") + b"\n" + _json({**listed, **({"sightloop": own} if own else {})})
        if one.label.name is not None:
            whole = Region(upright(0, 0, one.width, one.height))
            made = {**_place(whole), "category_id": _category(categories, one.label.name)}
            annotations.append(_json({"id": len(annotations) + 1, "image_id": place, **made}))
        for region in one.label.regions:
            made = _written(region, _category(categories, region.label or _PLACELESS))
            annotations.append(_json({"id": len(annotations) + 1, "image_id": place, **made}))
    yield b'\n],\n"annotations": [\n' + b",\n".join(annotations) + b'\n],\n"categories": '
    yield _json([{"id": number, "name": name} for name, number in categories.items()]) + b"}\n"


def _image(
    line: int,
    found: Any,
    of: dict[Any, list[tuple[int, dict[str, Any]]]],
    names: Mapping[Any, str],
    text: bool,
) -> Records:
    if not isinstance(found, dict) or not _is_id(found.get("id")):
        yield Problem(line, "the image has no id")
        return
    annotations = of.pop(found["id"], [])
    name = next((found[f] for f in ("file_name", "path") if isinstance(found.get(f), str) and found[f]), "")
    if not name:
        yield Problem(line, "the image has no file_name")
        return
    width, height = (max(int(number(found.get(side)) or 0), 0) for side in ("width", "height"))
    own = found.get("sightloop")
    if not annotations and not (text and isinstance(own, dict) and own.get("empty") is True):
        yield Problem(line, "it has no annotation, so it stays as it is", name)
    elif len(annotations) > MAX_REGIONS:
        yield Problem(line, f"it has {len(annotations):,} regions; at most {MAX_REGIONS:,} are read", name)
    elif text:
        yield from _regions(Entry(name, Label(), line, width, height), annotations, names)
    else:
        yield _class(Entry(name, Label(), line, width, height), annotations, names)


def _regions(entry: Entry, annotations: Annotations, names: Mapping[Any, str]) -> Records:
    regions = []
    for place, (at, each) in enumerate(annotations, 1):
        try:
            region, loss = _region(each, place, names)
        except Refused as error:
            yield Problem(at, str(error), entry.name)
            continue
        regions.append(region)
        if loss:
            yield Problem(at, loss, entry.name)
    # Without any of its regions it would say that there is no text.
    if regions or not annotations:
        yield replace(entry, label=Label(regions=tuple(regions)))


def _class(entry: Entry, annotations: Annotations, names: Mapping[Any, str]) -> Entry | Problem:
    ids = [each.get("category_id") for _, each in annotations]
    found = dict.fromkeys(names[one] for one in ids if _is_id(one) and names.get(one))
    if len(found) == 1:
        return replace(entry, label=Label(next(iter(found))))
    named = ", ".join(map(repr, list(found)[:5])) or "none"
    reason = f"an image has one class, and its annotations name {len(found)}: {named}"
    return Problem(entry.line, reason, entry.name)


def _region(found: dict[str, Any], place: int, names: Mapping[Any, str]) -> tuple[Region, str]:
    """The region, and what of its place could not be taken."""
    own = found.get("sightloop")
    own = own if isinstance(own, dict) else {}
    attributes = found.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    shape, points, loss = _points(found, attributes)
    if own.get("shape") == "polygon":
        shape = "polygon"
    written = next((s[f] for s in (found, attributes) for f in _TEXTS if isinstance(s.get(f), str)), None)
    category = found.get("category_id")
    kind = names.get(category, "") if _is_id(category) else ""
    extra = own.get("extra")
    region = Region(
        points=rounded(points),
        text=written,
        label="" if own.get("no_kind") is True else kind,
        shape="rectangle" if shape == "rectangle" else "polygon",
        ignored=own.get("ignored") is True or found.get("ignore") in (1, True),
        id=str(own.get("id") or f"r{place}"),
        extra=extra if isinstance(extra, dict) else {},
    )
    return region, loss


def _points(found: dict[str, Any], attributes: dict[str, Any]) -> tuple[str, tuple[Point, ...], str]:
    """Shape, corners, and what is lost: a region is one outline, and masks of pixels are not read."""
    outline = found.get("segmentation")
    if isinstance(outline, dict):
        mask = "its mask is run-length encoded, which is not read"
        try:
            return (*_box(found, attributes), f"{mask}: its box was taken")
        except Refused as error:
            raise Refused(f"{mask}, and {error}; export polygons or boxes") from None
    if not outline:
        return (*_box(found, attributes), "")
    if not isinstance(outline, list):
        raise Refused("its outline is no list of polygons")
    polygons = [_polygon(each) for each in outline]
    if not any(map(area, polygons)):
        raise Refused("its outline has no area")
    if len(polygons) == 1:
        points = polygons[0]
        return ("rectangle" if rectangle(points) else "polygon"), points, ""
    points = hull([point for each in polygons for point in each])
    lost = area(points) > _AS_LARGE * sum(map(area, polygons))
    merged = f"its {len(polygons)} polygons were merged to the outline around all of them"
    return ("rectangle" if rectangle(points) else "polygon"), points, merged if lost else ""


def _polygon(outline: Any) -> tuple[Point, ...]:
    flat = [number(value) for value in outline] if isinstance(outline, list) else []
    if None in flat or len(flat) < 6 or len(flat) % 2:
        raise Refused("its polygon is no list of 3 or more pairs of numbers")
    values = [value for value in flat if value is not None]
    return tuple(zip(values[::2], values[1::2], strict=True))


def _box(found: dict[str, Any], attributes: dict[str, Any]) -> tuple[str, tuple[Point, ...]]:
    box = found.get("bbox")
    sides = [number(value) for value in box] if isinstance(box, list) else []
    if len(sides) != 4 or None in sides:
        raise Refused("its bbox is not four numbers")
    x, y, width, height = (side or 0.0 for side in sides)
    if width <= 0 or height <= 0:
        raise Refused(f"its box has no area: {width:g} x {height:g}")
    turn = (number(attributes.get("rotation")) or 0.0) % 360.0  # of CVAT: clockwise about the centre
    if not turn:
        return "rectangle", upright(x, y, x + width, y + height)
    middle = corners(Rectangle(0, 0, width / 2, height / 2, turn))[2]
    left, top = x + width / 2 - middle[0], y + height / 2 - middle[1]
    return "rectangle", corners(Rectangle(left, top, width, height, turn))


def _written(region: Region, category: int) -> dict[str, Any]:
    own: dict[str, Any] = {"shape": region.shape, "id": region.id, "extra": dict(region.extra)}
    own |= {"ignored": region.ignored, "no_kind": not region.label}
    made = {**_place(region), "category_id": category}
    if region.text is not None:
        made["text"] = region.text
    return {**made, "sightloop": {name: value for name, value in own.items() if value}}


def _place(region: Region) -> dict[str, Any]:
    left, top, right, bottom = bounds(region.points)
    flat = [value for point in region.points for value in point]
    box = [left, top, right - left, bottom - top]
    return {"bbox": box, "segmentation": [flat], "area": area(region.points), "iscrowd": 0}


def _category(categories: dict[str, int], name: str) -> int:
    return categories.setdefault(name, len(categories) + 1)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()
