"""Label Studio's side of OCR: regions with text, as in Label Studio's own template for it.

A region is up to four results of one `id`: its shape (`rectangle` or `polygon`), its kind (`labels`), its
text (`textarea`) and, for what nobody can read, a mark (`choices`). The older form with kind and shape in one
result (`rectanglelabels`, `polygonlabels`) is read as well. Label Studio writes places in percent of the
image and turns rectangles clockwise about their upper left corner, in pixels
(label_studio_sdk/converter/utils.py, `convert_annotation_to_yolo_obb`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

from plugins.boxes import Rectangle, clamp, corners, has_area, is_finite, rectangle, rounded
from plugins.contract import Label, PluginError, Point, Prediction, Region
from plugins.markup import attribute, hotkey

KIND = "Text"  # of regions that say none
_KINDS = (KIND, "Handwriting")
_IMAGE, _RECTANGLE, _POLYGON, _LABELS = "image", "bbox", "poly", "label"
_TEXT, _LEGIBILITY, _ILLEGIBLE = "transcription", "legibility", "Illegible"
_META = "sightloop"  # under which a region's extra values travel
_KIND_KEYS = ("rectanglelabels", "polygonlabels", "labels")
# A predicted quadrilateral is drawn as a rectangle if no corner lies farther off: easier to correct.
_NEARLY = 1.5  # pixels


def config(labels: Sequence[str]) -> str:
    """The labeling configuration (XML); `labels` are kinds of regions, `Text` is always one of them.

    Drawing a shape asks the model for its text (`smart`) where Label Studio's auto-annotation is on.
    """
    kinds = dict.fromkeys([KIND, *labels] if labels else _KINDS)
    listed = "\n".join(
        f"    <Label value={attribute(kind)}{hotkey(number)}/>" for number, kind in enumerate(kinds)
    )
    return (
        "<View>\n"
        f'  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>\n'
        f'  <Labels name="{_LABELS}" toName="{_IMAGE}">\n'
        f"{listed}\n"
        "  </Labels>\n"
        f'  <Rectangle name="{_RECTANGLE}" toName="{_IMAGE}" strokeWidth="2" smart="true"/>\n'
        f'  <Polygon name="{_POLYGON}" toName="{_IMAGE}" strokeWidth="2" smart="true"/>\n'
        f'  <TextArea name="{_TEXT}" toName="{_IMAGE}" editable="true" perRegion="true" maxSubmissions="1"\n'
        '            rows="2" placeholder="Recognized Text" displayMode="region-list"/>\n'
        f'  <Choices name="{_LEGIBILITY}" toName="{_IMAGE}" perRegion="true" choice="multiple">\n'
        f'    <Choice value="{_ILLEGIBLE}"/>\n'
        "  </Choices>\n"
        "</View>\n"
    )


def label_from_result(result: Sequence[Mapping[str, Any]], *, width: int, height: int) -> Label:
    """The regions that an annotation holds, in pixels; none of them is an image without text.

    What has no place (choices of the whole image, relations) or one of another kind (ellipse, brush) is not
    ours and ignored. Where the image's size is not known (0), that of the results is taken.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for number, entry in enumerate(result):
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), Mapping):
            members.setdefault(str(entry.get("id") or f"#{number}"), []).append(entry)
    regions = (_region(name, entries, width, height) for name, entries in members.items())
    return Label(regions=tuple(region for region in regions if region is not None))


def result_from_label(label: Label, *, width: int, height: int) -> list[dict[str, Any]]:
    """The annotation with these regions. What lies outside of the image is cut off there; a region of which
    nothing remains is left out.

    Raises `PluginError` (`size_unknown`) without the image's size.
    """
    return list(_results(label.regions, width, height))


def result_from_prediction(prediction: Prediction, *, width: int, height: int) -> list[dict[str, Any]]:
    """The prediction with a region an output, each of its results with the output's score.

    Raises `PluginError` (`size_unknown`) without the image's size.
    """
    results: list[dict[str, Any]] = []
    for number, output in enumerate(prediction.outputs):
        if output.pos is None:
            continue
        points = tuple((x * width, y * height) for x, y in output.pos)
        shape = "rectangle" if rectangle(points, _NEARLY) else "polygon"
        region = Region(points, output.label or None, KIND, shape=shape, id=f"p{number + 1}")  # type: ignore[arg-type]
        results += ({**entry, "score": output.conf} for entry in _results([region], width, height, _NEARLY))
    return results


def _results(
    regions: Sequence[Region], width: int, height: int, tolerance: float = 0.01
) -> Iterator[dict[str, Any]]:
    if width <= 0 or height <= 0:
        raise PluginError("size_unknown", "the size of the image is not known; check the dataset first")
    taken = {region.id for region in regions}
    free = (name for number in range(1, 2 * len(regions) + 2) if (name := f"r{number}") not in taken)
    seen: set[str] = set()
    for region in regions:
        inside, _ = clamp(region, width, height)
        name = region.id if region.id and region.id not in seen else next(free)
        seen.add(name)
        if is_finite(inside.points) and has_area(inside):
            yield from _entries(replace(inside, id=name), width, height, tolerance)


def _entries(region: Region, width: int, height: int, tolerance: float) -> Iterator[dict[str, Any]]:
    control, place = _place(region, width, height, tolerance)
    size = {"original_width": width, "original_height": height, "image_rotation": 0}
    common = {"id": region.id, "to_name": _IMAGE, **size}
    if meta := _meta(region):
        common["meta"] = meta
    shape = "rectangle" if control == _RECTANGLE else "polygon"
    yield {**common, "from_name": control, "type": shape, "value": place}
    kinds = {"labels": [region.label or KIND]}
    yield {**common, "from_name": _LABELS, "type": "labels", "value": {**place, **kinds}}
    if region.text is not None:
        yield {
            **common,
            "from_name": _TEXT,
            "type": "textarea",
            "value": {**place, "text": [region.text]},
        }
    if region.ignored:
        mark = {"choices": [_ILLEGIBLE]}
        yield {**common, "from_name": _LEGIBILITY, "type": "choices", "value": {**place, **mark}}


def _place(region: Region, width: int, height: int, tolerance: float) -> tuple[str, dict[str, Any]]:
    box = rectangle(region.points, tolerance) if region.shape == "rectangle" else None
    if box is None:
        points = [[100.0 * x / width, 100.0 * y / height] for x, y in region.points]
        return _POLYGON, {"points": points, "closed": True}
    return _RECTANGLE, {
        "x": 100.0 * box.x / width,
        "y": 100.0 * box.y / height,
        "width": 100.0 * box.width / width,
        "height": 100.0 * box.height / height,
        "rotation": box.rotation,
    }


def _meta(region: Region) -> dict[str, Any]:
    extra = dict(region.extra)
    meta = extra.pop("meta", None)
    kept = dict(meta) if isinstance(meta, Mapping) else {}
    return {**kept, _META: extra} if extra else kept


def _region(name: str, entries: Sequence[Mapping[str, Any]], width: int, height: int) -> Region | None:
    placed = next(filter(None, (_points(entry, width, height) for entry in entries)), None)
    if placed is None:
        return None
    shape, points = placed
    return Region(
        points=points,
        text=_text(entries),
        label=_kind(entries),
        shape="rectangle" if shape == "rectangle" else "polygon",
        ignored=any(_is_illegible(entry) for entry in entries),
        id=name,
        extra=_extra(entries),
    )


def _points(entry: Mapping[str, Any], width: int, height: int) -> tuple[str, tuple[Point, ...]] | None:
    """Shape and corners in pixels, if the result says a place that is read."""
    value = entry["value"]
    across, down = (
        width or _number(entry.get("original_width")),
        height or _number(entry.get("original_height")),
    )
    if not across or not down:
        return None
    sides = [_number(value.get(name)) for name in ("x", "y", "width", "height")]
    if None not in sides:
        x, y, w, h = (side or 0.0 for side in sides)
        rotation = _number(value.get("rotation")) or 0.0
        box = Rectangle(x * across / 100, y * down / 100, w * across / 100, h * down / 100, rotation)
        return "rectangle", rounded(corners(box))
    points = value.get("points")
    if not isinstance(points, Sequence) or isinstance(points, str) or len(points) < 3:
        return None
    pairs = [_pair(point) for point in points]
    if None in pairs:
        return None
    return "polygon", rounded([(p[0] * across / 100, p[1] * down / 100) for p in pairs if p is not None])


def _pair(point: Any) -> Point | None:
    if not isinstance(point, Sequence) or isinstance(point, str) or len(point) != 2:
        return None
    x, y = _number(point[0]), _number(point[1])
    return None if x is None or y is None else (x, y)


def _number(value: Any) -> float | None:
    """A finite number; integers may be too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e12 < value < 1e12:
        return None
    return float(value) if isfinite(value) else None


def _text(entries: Sequence[Mapping[str, Any]]) -> str | None:
    """The transcription; users add text areas of their own, so that of our name goes first."""
    written = [entry for entry in entries if entry.get("type") == "textarea" and "text" in entry["value"]]
    written.sort(key=lambda entry: entry.get("from_name") != _TEXT)
    if not written:
        return None
    text = written[0]["value"]["text"]
    if isinstance(text, str):
        return text
    lines = [str(line) for line in text] if isinstance(text, Sequence) else []
    return "\n".join(lines) if lines else None


def _kind(entries: Sequence[Mapping[str, Any]]) -> str:
    for entry in entries:
        for key in _KIND_KEYS:
            named = entry["value"].get(key)
            if isinstance(named, Sequence) and not isinstance(named, str) and named:
                return str(named[0])
    return ""


def _is_illegible(entry: Mapping[str, Any]) -> bool:
    chosen = entry["value"].get("choices") if entry.get("from_name") == _LEGIBILITY else None
    return isinstance(chosen, Sequence) and _ILLEGIBLE in chosen


def _extra(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a region said beside place, kind and text: our own extra values, and notes of people."""
    metas = (entry.get("meta") for entry in entries)
    meta = next((dict(meta) for meta in metas if isinstance(meta, Mapping) and meta), {})
    own = meta.pop(_META, None)
    extra = dict(own) if isinstance(own, Mapping) else {}
    return {**extra, "meta": meta} if meta else extra
