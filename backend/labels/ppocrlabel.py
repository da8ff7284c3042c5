"""PPOCRLabel's `Label.txt`: one image a line, its path, a tab and a JSON list of quadrilaterals with text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from backend.labels.records import MAX_REGIONS, Entry, Problem, Records
from plugins.boxes import is_finite, rectangle, rounded
from plugins.contract import Label, Point, Region

MAX_LINE = 16 * 1024**2  # bytes
_ILLEGIBLE = "###"  # PaddleOCR's text of what nobody can read
_FIELDS = ("transcription", "points", "difficult")


class _Refused(ValueError):
    """Part of a line that cannot be taken, in one sentence."""


def read(source: BinaryIO) -> Records:
    """The images of a file line by line; memory is that of one line."""
    number = 0
    while line := source.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            yield Problem(
                number, f"the line has more than {MAX_LINE:,} bytes; the rest of the file is not read"
            )
            return
        if line.strip(b"\r\n\t \xef\xbb\xbf"):
            yield from _line(line, number)


def write(images: Iterable[tuple[str, Label]]) -> Iterator[bytes]:
    """A line an image. Shape, kind and id of a region stand in fields of our own, which PPOCRLabel skips."""
    for name, label in images:
        regions = [_written(region) for region in label.regions]
        safe = name.replace("\t", " ").replace("\n", " ").replace("\r", " ")
        # PPOCRLabel splits at the line breaks of Unicode too, and JSON need not escape these.
        listed = json.dumps(regions, ensure_ascii=False)
        for char in "\x85\u2028\u2029":
            listed = listed.replace(char, f"\\u{ord(char):04x}")
        yield f"{safe}\t{listed}\n".encode("utf-8", "surrogatepass")


def _line(line: bytes, number: int) -> Records:
    try:
        name, found = _parse(line)
    except UnicodeDecodeError:
        yield Problem(number, "the line is not UTF-8; save the file as UTF-8")
        return
    except _Refused as error:
        yield Problem(number, str(error))
        return
    regions = []
    for place, entry in enumerate(found, 1):
        try:
            regions.append(_region(entry, place))
        except _Refused as error:
            yield Problem(number, f"region {place}: {error}", name)
    # Without any of its regions it would say that there is no text.
    if regions or not found:
        yield Entry(name, Label(regions=tuple(regions)), number)


def _parse(line: bytes) -> tuple[str, list[Any]]:
    name, tab, listed = line.decode("utf-8-sig").rstrip("\r\n").partition("\t")
    if not tab:
        raise _Refused("the line has no tab between the image and its regions")
    try:
        found = json.loads(listed)
    except (ValueError, RecursionError) as error:
        raise _Refused(f"what stands behind the tab is not JSON: {str(error)[:200]}") from None
    if not isinstance(found, list):
        raise _Refused("what stands behind the tab is no list of regions")
    if len(found) > MAX_REGIONS:
        raise _Refused(f"it has {len(found):,} regions; at most {MAX_REGIONS:,} are read")
    return name, found


def _region(entry: Any, number: int) -> Region:
    if not isinstance(entry, dict):
        raise _Refused("it is no object")
    points = rounded(_points(entry.get("points")))
    own = entry.get("sightloop")
    own = own if isinstance(own, dict) else {}
    text = entry.get("transcription")
    ignored = bool(entry.get("difficult")) or text == _ILLEGIBLE
    quadrilateral = len(points) == 4 and own.get("shape", "rectangle") == "rectangle"
    kept = {
        key: value
        for key, value in entry.items()
        if key not in (*_FIELDS, "sightloop") and isinstance(value, str | int | float | bool)
    }
    return Region(
        points=points,
        text=None if text is None or own.get("untranscribed") is True else str(text),
        label=str(own.get("label") or ""),
        shape="rectangle" if quadrilateral and rectangle(points) else "polygon",
        ignored=ignored,
        id=str(own.get("id") or f"r{number}"),
        extra={"ppocrlabel": kept} if kept else {},
    )


def _points(found: Any) -> tuple[Point, ...]:
    if not isinstance(found, list) or len(found) < 3:
        raise _Refused("it needs 3 points or more")
    try:
        points = tuple((float(x), float(y)) for x, y in found)
    except (TypeError, ValueError, OverflowError):
        raise _Refused("its points are not pairs of numbers") from None
    if not is_finite(points):
        raise _Refused("its points are not pairs of numbers")
    return points


def _written(region: Region) -> dict[str, Any]:
    own = {"label": region.label, "id": region.id, "shape": region.shape}
    if region.text is None:
        own["untranscribed"] = True  # type: ignore[assignment]
    return {
        "transcription": region.text or "",
        "points": [[x, y] for x, y in region.points],
        "difficult": region.ignored,
        **(region.extra.get("ppocrlabel") or {}),
        "sightloop": {key: value for key, value in own.items() if value},
    }
