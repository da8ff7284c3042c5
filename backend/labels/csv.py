"""CSV: a row an image with its class, or a row a region. Columns go by their names, in any order.

Places are in pixels, or in percent or fractions of the image where the column `unit` says so; then the
image's `width` and `height` are needed. Comma, semicolon or tab, as the first line has it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from io import StringIO
from typing import Any

from backend.labels.jsonfile import MAX_BYTES, Refused, number, text_of, value_of
from backend.labels.names import guarded
from backend.labels.records import MAX_REGIONS, Entry, Problem, Records, Sized
from plugins.boxes import Rectangle, corners, rectangle, rounded, upright
from plugins.contract import Label, Point, Region

_IMAGES = ("image", "key", "file", "filename", "file_name", "image_path", "path", "uri")
_CLASSES = ("label", "class", "choice", "category", "class_name")
_REGIONS = ("image", "width", "height", "id", "kind", "shape", "ignored", "text", "points", "unit", "extra")
_UNITS = {"": 0.0, "pixels": 0.0, "percent": 100.0, "fractions": 1.0}
_BOX = ("xmin", "ymin", "xmax", "ymax")
_TURNED = ("x", "y", "box_width", "box_height", "rotation")
_NONE, _EMPTY = "none", "no_regions"  # in the column `shape`: no text yet; an image without regions

Row = Mapping[str, str]

csv.field_size_limit(MAX_BYTES)  # of a whole file: a polygon of many corners has more than Python's 128 KiB


def read(data: bytes, *, text: bool) -> Records:
    """An entry an image, its regions from all rows that name it, and a problem for each row that cannot be
    taken. `text`: for OCR.
    """
    try:
        content = text_of(data)
        rows = csv.reader(StringIO(content, newline=""), delimiter=_delimiter(content), strict=True)
        columns = [name.strip().lower() for name in next(rows, [])]
        image = _column(columns, _IMAGES, "the image")
        if not text:
            named = _column(columns, _CLASSES, "the class")
    except (Refused, csv.Error) as error:
        yield Problem(1, str(error))
        return
    images: dict[str, list[tuple[int, Row]]] = {}
    yield from _collect(rows, columns, image, images)
    for name, found in images.items():
        if text:
            yield from _regions(name, found)
        else:
            yield _class(name, [(line, row[named].strip()) for line, row in found])


def _collect(
    rows: Any, columns: list[str], image: str, images: dict[str, list[tuple[int, Row]]]
) -> Iterator[Problem]:
    """The rows by the image that they name; what cannot be read is answered."""
    start = rows.line_num + 1
    try:
        for values in rows:
            if any(values):
                if len(values) != len(columns):
                    yield Problem(start, f"it has {len(values)} values, and the first line {len(columns)}")
                elif not (row := dict(zip(columns, values, strict=True)))[image].strip():
                    yield Problem(start, "it names no image")
                else:
                    images.setdefault(row[image].strip(), []).append((start, row))
            start = rows.line_num + 1
    except csv.Error as error:
        yield Problem(start, f"the file is not read from here on: {error}")


def write(images: Iterable[Sized], *, text: bool) -> Iterator[bytes]:
    """The file in pieces: `image,label`, or for OCR a row a region."""
    yield _line(_REGIONS if text else ("image", "label"))
    for one in images:
        if not text:
            yield _line((guarded(one.name), one.label.name or ""))
            continue
        size = (guarded(one.name), str(one.width), str(one.height))
        if not one.label.regions:
            yield _line((*size, "", "", _EMPTY, "", "", "", "", ""))
        for region in one.label.regions:
            yield _line((*size, *_written(region)))


def _class(name: str, rows: list[tuple[int, str]]) -> Entry | Problem:
    found = dict.fromkeys(label for _, label in rows if label)
    line = rows[0][0]
    if len(found) == 1:
        return Entry(name, Label(next(iter(found))), line)
    if not found:
        return Problem(line, "it names no class", name)
    return Problem(line, f"an image has one class, and the file names {len(found)} of it", name)


def _regions(name: str, rows: list[tuple[int, Row]]) -> Records:
    if len(rows) > MAX_REGIONS:
        yield Problem(rows[0][0], f"it has {len(rows):,} regions; at most {MAX_REGIONS:,} are read", name)
        return
    regions = []
    sizes: tuple[int, int] = (0, 0)
    for place, (line, row) in enumerate(rows, 1):
        sizes = max(sizes, _size(row))
        if row.get("shape") == _EMPTY:
            continue
        try:
            regions.append(_region(row, place))
        except Refused as error:
            yield Problem(line, str(error), name)
    if regions or any(row.get("shape") == _EMPTY for _, row in rows):
        yield Entry(name, Label(regions=tuple(regions)), rows[0][0], *sizes)


def _region(row: Row, place: int) -> Region:
    shape, points = _points(row)
    unit = row.get("unit", "").strip().lower()
    if unit not in _UNITS:
        raise Refused(f"the unit {unit[:40]!r} is not read; there are pixels, percent and fractions")
    told = row.get("shape", "").split()
    if _NONE in told and row.get("text"):
        raise Refused("its shape says that nobody has transcribed it, and it has a text")
    extra = _json(row["extra"]) if row.get("extra") else {}
    return Region(
        points=rounded(points),
        text=None if _NONE in told or "text" not in row else row["text"],
        label=row.get("kind", ""),
        shape="rectangle" if shape == "rectangle" and "polygon" not in told else "polygon",
        ignored=row.get("ignored", "").strip().lower() in ("1", "true", "yes"),
        id=row.get("id") or f"r{place}",
        extra=extra if isinstance(extra, dict) else {},
    )


def _points(row: Row) -> tuple[str, tuple[Point, ...]]:
    """Shape and corners in pixels: turned boxes only after the way from percent, see `plugins.boxes`."""
    across, down = _scale(row)
    if row.get("points"):
        found = _json(row["points"])
        if not isinstance(found, list) or len(found) < 3:
            raise Refused("its points are no list of 3 or more")
        points = tuple((x * across, y * down) for x, y in map(_pair, found))
        return ("rectangle" if rectangle(points) else "polygon"), points
    if all(row.get(name) for name in _BOX):
        left, top, right, bottom = (_number(row, name) for name in _BOX)
        if left == right or top == bottom:
            raise Refused("its box has no area")
        return "rectangle", upright(left * across, top * down, right * across, bottom * down)
    if all(row.get(name) for name in _TURNED[:4]):
        x, y, width, height = (_number(row, name) for name in _TURNED[:4])
        turn = _number(row, "rotation") % 360.0 if row.get("rotation") else 0.0
        if width <= 0 or height <= 0:
            raise Refused("its box has no area")
        box = Rectangle(x * across, y * down, width * across, height * down, turn)
        return "rectangle", corners(box)
    raise Refused(f"it has no place: points, or {', '.join(_BOX)}, or {', '.join(_TURNED)}")


def _scale(row: Row) -> tuple[float, float]:
    whole = _UNITS.get(row.get("unit", "").strip().lower(), 0.0)
    if not whole:
        return 1.0, 1.0
    width, height = _size(row)
    if not (width and height):
        raise Refused("percent and fractions need the image's width and height")
    return width / whole, height / whole


def _size(row: Row) -> tuple[int, int]:
    sides = [row.get(side, "") for side in ("width", "height")]
    if not all(side.isascii() and side.isdigit() and len(side) < 10 for side in sides):
        return 0, 0
    return int(sides[0]), int(sides[1])


def _written(region: Region) -> tuple[str, ...]:
    shape = f"{region.shape} {_NONE}" if region.text is None else region.shape
    points = json.dumps([list(point) for point in region.points], allow_nan=False)
    extra = json.dumps(dict(region.extra), allow_nan=False) if region.extra else ""
    ignored = str(int(region.ignored))
    return region.id, region.label, shape, ignored, region.text or "", points, "pixels", extra


def _number(row: Row, name: str) -> float:
    try:
        found = number(float(row[name]))
    except ValueError:
        found = None
    if found is None:
        raise Refused(f"its {name} is no number")
    return found


def _pair(value: Any) -> Point:
    pair = [number(one) for one in value] if isinstance(value, list) else []
    if len(pair) != 2 or None in pair:
        raise Refused("its points are not pairs of numbers")
    return pair[0] or 0.0, pair[1] or 0.0


def _json(value: str) -> Any:
    try:
        return value_of(value)
    except Refused:
        raise Refused("a value in it is no JSON") from None


def _delimiter(content: str) -> str:
    first = content.partition("\n")[0]
    return max(",;\t", key=first.count)


def _column(columns: list[str], names: tuple[str, ...], what: str) -> str:
    found = next((name for name in names if name in columns), None)
    if found is None:
        raise Refused(f"no column names {what}; call it {names[0]}")
    return found


def _line(values: Iterable[str]) -> bytes:
    buffer = StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_MINIMAL).writerow(values)
    return buffer.getvalue().encode("utf-8", "surrogatepass")
