"""Pascal VOC XML, one file an image: as labelImg, roLabelImg and Roboflow write it.

For classification `<name>` is a class, for OCR the text. Fields are read by their tags, in any order. Pixels
are taken as they are written; VOC's own counting from 1 is not undone, for labelImg and most others count
from 0.
"""

from __future__ import annotations

from math import degrees
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, TreeBuilder, indent, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from backend.labels.names import guarded
from backend.labels.records import MAX_REGIONS, Entry, Problem, Records
from plugins.boxes import Rectangle, bounds, corners, is_upright, rectangle, rounded, upright
from plugins.contract import Label, Point, Region

MAX_BYTES = 16 * 1024**2
_MAX_DEPTH = 32
_KEPT = ("pose", "truncated", "occluded")  # of an object: not used here, wanted back by the format
_PLAIN = ("", "0", "Unspecified")


class _Refused(ValueError):
    """Part of a file that cannot be taken, in one sentence."""


class _Lined(TreeBuilder):
    """Builds the tree and remembers the line of each element."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Element, int] = {}
        self.parser: Any = None
        self._depth = 0

    def start(self, tag: Any, attrs: Any) -> Element:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _Refused(f"elements stand more than {_MAX_DEPTH} deep in each other")
        element = super().start(tag, attrs)
        self.lines[element] = self.parser.CurrentLineNumber
        return element

    def end(self, tag: str) -> Element:
        self._depth -= 1
        return super().end(tag)


def read(data: bytes, *, text: bool) -> Records:
    """The one entry of a file, and a problem for each object that cannot be taken. `text`: for OCR.

    A file that is cut off, hostile or no VOC is one problem and no entry: half of an image's regions would
    teach that the rest is background.
    """
    builder = _Lined()
    try:
        root = _parse(data, builder)
    except _Refused as error:
        yield Problem(_line(builder), str(error))
        return
    objects = [element for element in root if element.tag == "object"]
    if root.tag != "annotation":
        yield Problem(1, f"it is no VOC file: its first element is <{root.tag[:40]}>, not <annotation>")
        return
    if len(objects) > MAX_REGIONS:
        yield Problem(0, f"it has {len(objects):,} objects; at most {MAX_REGIONS:,} are read")
        return
    name = _string(root, "filename")
    width, height = (int(_number(root, f"size/{side}") or 0) for side in ("width", "height"))
    width, height = max(width, 0), max(height, 0)
    if not text:
        yield _class(name, objects, width, height)
        return
    regions = []
    for number, element in enumerate(objects, 1):
        try:
            regions.append(_region(element, number))
        except _Refused as error:
            yield Problem(builder.lines[element], str(error), name)
    # Without any of its regions it would say that there is no text.
    if regions or not objects:
        yield Entry(name, Label(regions=tuple(regions)), width=width, height=height)


def write(name: str, label: Label, *, width: int, height: int) -> bytes:
    """The file of one image. VOC has no place for kinds and ids of regions: they stand in elements of our
    own, which other programs skip.
    """
    root = Element("annotation")
    SubElement(root, "filename").text = _clean(guarded(name))
    size = SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        SubElement(size, tag).text = str(value)
    if label.name is not None:
        _object(root, Region(upright(0, 0, width, height), label.name), {})
    for region in label.regions:
        _object(root, region, dict(region.extra.get("voc") or {}))
    indent(root)
    written: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + written + b"\n"


def _parse(data: bytes, builder: _Lined) -> Element:
    if len(data) > MAX_BYTES:
        raise _Refused(f"it has {len(data):,} bytes; at most {MAX_BYTES:,} of an XML file are read")
    if not data.strip():
        raise _Refused("it is empty")
    parser = DefusedXMLParser(target=builder, forbid_dtd=True)
    builder.parser = parser.parser
    try:
        parser.feed(data)
        return parser.close()
    except DefusedXmlException:
        raise _Refused("it declares a document type or entities, which are not read") from None
    except ParseError as error:
        raise _Refused(f"it is no whole XML file: {error}") from None
    except (ValueError, LookupError) as error:
        raise _Refused(str(error) if isinstance(error, _Refused) else f"it cannot be read: {error}") from None


def _line(builder: _Lined) -> int:
    return int(builder.parser.CurrentLineNumber) if builder.parser is not None else 0


def _class(name: str, objects: list[Element], width: int, height: int) -> Entry | Problem:
    found = dict.fromkeys(filter(None, (_string(element, "name").strip() for element in objects)))
    if len(found) != 1:
        named = ", ".join(map(repr, list(found)[:5])) or "none"
        return Problem(
            0, f"an image has one class, and its objects name {len(found) or 'none'}: {named}", name
        )
    return Entry(name, Label(next(iter(found))), width=width, height=height)


def _region(element: Element, number: int) -> Region:
    shape, points = _place(element)
    extra = {tag: value for tag in _KEPT if (value := _string(element, tag)) not in _PLAIN}
    content = element.findtext("name")
    return Region(
        points=rounded(points),
        text=None if element.find("sightloop/untranscribed") is not None else (content or ""),
        label=_string(element, "sightloop/label"),
        shape="rectangle" if shape == "rectangle" else "polygon",
        ignored=_string(element, "difficult") == "1",
        id=_string(element, "sightloop/id") or f"r{number}",
        extra={"voc": extra} if extra else {},
    )


def _place(element: Element) -> tuple[str, tuple[Point, ...]]:
    if (polygon := element.find("polygon")) is not None:
        outline = _polygon(polygon)
        if len(outline) >= 3:
            return "polygon", tuple(outline)
        raise _Refused(f"its polygon has {len(outline)} points; 3 are needed")
    if (turned := element.find("robndbox")) is not None:
        cx, cy, width, height, angle = _numbers(turned, ("cx", "cy", "w", "h", "angle"))
        # roLabelImg: the centre, and the clockwise turn in radians about it.
        middle = corners(Rectangle(0, 0, width / 2, height / 2, degrees(angle) % 360))[2]
        return "rectangle", corners(
            Rectangle(cx - middle[0], cy - middle[1], width, height, degrees(angle) % 360)
        )
    box = element.find("bndbox")
    if box is None:
        raise _Refused("it has no <bndbox>, <polygon> or <robndbox>")
    points = upright(*_numbers(box, ("xmin", "ymin", "xmax", "ymax")))
    left, top, right, bottom = bounds(points)
    if right <= left or bottom <= top:
        raise _Refused(f"its box has no area: {left:g}, {top:g} to {right:g}, {bottom:g}")
    return "rectangle", points


def _polygon(element: Element) -> list[Point]:
    """`<x1><y1><x2><y2>...`, or `<pt><x/><y/></pt>...`."""
    if element.find("pt") is not None:
        return [(x, y) for x, y in (_numbers(point, ("x", "y")) for point in element.findall("pt"))]
    count = sum(child.tag.startswith("x") for child in element)
    return [(x, y) for x, y in (_numbers(element, (f"x{n}", f"y{n}")) for n in range(1, count + 1))]


def _numbers(element: Element, tags: tuple[str, ...]) -> list[float]:
    found = [_number(element, tag) for tag in tags]
    missing = [tag for tag, value in zip(tags, found, strict=True) if value is None]
    if missing:
        raise _Refused(f"<{missing[0]}> of its <{element.tag}> is no number")
    return [value for value in found if value is not None]


def _number(element: Element, path: str) -> float | None:
    try:
        value = float(element.findtext(path) or "")
    except ValueError:
        return None
    return value if -1e9 < value < 1e9 else None


def _string(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _object(root: Element, region: Region, kept: dict[str, str]) -> None:
    element = SubElement(root, "object")
    SubElement(element, "name").text = _clean(region.text or "")
    for tag in _KEPT:
        SubElement(element, tag).text = _clean(str(kept.get(tag, "Unspecified" if tag == "pose" else "0")))
    SubElement(element, "difficult").text = str(int(region.ignored))
    left, top, right, bottom = bounds(region.points)
    box = SubElement(element, "bndbox")
    for tag, value in (("xmin", left), ("ymin", top), ("xmax", right), ("ymax", bottom)):
        SubElement(box, tag).text = f"{value:.10g}"
    _exact_place(element, region)
    own = {"label": region.label, "id": region.id}
    if any(own.values()) or region.text is None:
        ours = SubElement(element, "sightloop")
        for tag, content in own.items():
            if content:
                SubElement(ours, tag).text = _clean(content)
        if region.text is None:
            SubElement(ours, "untranscribed")


def _exact_place(element: Element, region: Region) -> None:
    """What a box cannot say: a turned rectangle, a polygon."""
    if region.shape == "rectangle" and is_upright(region.points):
        return
    turned = rectangle(region.points) if region.shape == "rectangle" else None
    if turned is None:
        polygon = SubElement(element, "polygon")
        for number, (x, y) in enumerate(region.points, 1):
            SubElement(polygon, f"x{number}").text = f"{x:.10g}"
            SubElement(polygon, f"y{number}").text = f"{y:.10g}"
        return
    upper_left, _, lower_right, _ = region.points
    values = {
        "cx": (upper_left[0] + lower_right[0]) / 2,
        "cy": (upper_left[1] + lower_right[1]) / 2,
        "w": turned.width,
        "h": turned.height,
        "angle": turned.rotation * 3.141592653589793 / 180,
    }
    box = SubElement(element, "robndbox")
    for tag, value in values.items():
        SubElement(box, tag).text = f"{value:.12g}"


def _clean(value: str) -> str:
    """Without what XML cannot carry even when escaped (XML 1.0, section 2.2)."""
    return "".join(
        char for char in value if char in "\t\n\r" or (char >= " " and not "\ud800" <= char <= "\udfff")
    ).translate({0xFFFE: None, 0xFFFF: None})
