"""VOC XML: what other tools write, what is refused, and the way there and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.labels import voc
from backend.labels.records import Entry, Problem
from plugins.boxes import Rectangle, corners, rounded, upright
from plugins.contract import Label, Region

BOX = "<bndbox><xmax>326</xmax><xmin>72</xmin><ymax>64</ymax><ymin>25</ymin></bndbox>"


def xml(*objects: str, head: str = "<filename>a.jpg</filename>") -> bytes:
    return f"<annotation>\n{head}\n{chr(10).join(objects)}\n</annotation>".encode()


def thing(name: str, place: str = BOX, more: str = "") -> str:
    return f"<object>{more}{place}<name>{name}</name></object>"


def only(data: bytes, *, text: bool = True) -> Entry | Problem:
    (record,) = voc.read(data, text=text)
    return record


def test_text_is_read_by_tags_in_any_order() -> None:
    size = "<filename>a.jpg</filename><size><height>1013</height><width>463</width></size>"
    entry = only(xml(thing("NO.53 &amp; 59", more="<difficult>1</difficult>"), head=size))
    region = Region(upright(72, 25, 326, 64), "NO.53 & 59", ignored=True, id="r1")
    assert entry == Entry("a.jpg", Label(regions=(region,)), width=463, height=1013)


def test_one_class_an_image() -> None:
    assert only(xml(thing("cat"), thing("cat")), text=False) == Entry("a.jpg", Label("cat"))
    mixed = only(xml(thing("cat"), thing("dog")), text=False)
    assert isinstance(mixed, Problem)
    assert "name 2: 'cat', 'dog'" in mixed.reason


def test_swapped_corners_are_the_same_box() -> None:
    swapped = "<bndbox><xmin>9</xmin><ymin>8</ymin><xmax>1</xmax><ymax>2</ymax></bndbox>"
    entry = only(xml(thing("x", swapped)))
    assert isinstance(entry, Entry)
    assert entry.label.regions[0].points == upright(1, 2, 9, 8)


def test_rotated_boxes_and_polygons_are_read_where_they_stand_beside_the_box() -> None:
    turned = "<robndbox><cx>100</cx><cy>50</cy><w>40</w><h>10</h><angle>1.5707963267948966</angle></robndbox>"
    outline = "<polygon><x1>1</x1><y1>2</y1><x2>9</x2><y2>2</y2><x3>9</x3><y3>8</y3></polygon>"
    entry = only(xml(thing("a", BOX + turned), thing("b", outline + BOX)))
    assert isinstance(entry, Entry)
    one, other = entry.label.regions
    assert list(one.points) == [(105, 30), (105, 70), (95, 70), (95, 30)]
    assert (other.shape, list(other.points)) == ("polygon", [(1, 2), (9, 2), (9, 8)])


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("", "no <bndbox>"),
        ("<bndbox><xmin>1</xmin></bndbox>", "<ymin> of its <bndbox> is no number"),
        (BOX.replace("326", "72"), "no area"),
        (BOX.replace("326", "nan"), "<xmax> of its <bndbox> is no number"),
        (BOX.replace("326", "1e400"), "<xmax> of its <bndbox> is no number"),
        ("<polygon><x1>1</x1><y1>2</y1></polygon>", "1 points"),
    ],
)
def test_an_object_that_cannot_be_taken_is_named_by_its_line(place: str, reason: str) -> None:
    problem, entry = voc.read(xml(thing("bad", place), thing("good")), text=True)
    assert isinstance(problem, Problem)
    assert (problem.line, problem.name) == (3, "a.jpg")
    assert reason in problem.reason
    assert isinstance(entry, Entry)
    assert [region.text for region in entry.label.regions] == ["good"]


def test_a_file_whose_every_object_is_refused_does_not_say_that_there_is_no_text() -> None:
    record = only(xml(thing("bad", BOX.replace("326", "72"))))
    assert isinstance(record, Problem)


BOMB = b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'
FILE = b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (BOMB, "entities"),
        (FILE, "entities"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><annotation/>', "entities"),
        (xml(thing("x"))[:-20], "no whole XML"),
        (b"", "empty"),
        (b"\xff\xfe\x00", "no whole XML"),
        (b'<?xml version="1.0" encoding="gb18030"?><annotation/>', "cannot be read"),
        (b"<kml></kml>", "no VOC file"),
        (b"<a>" * 5000, "deep"),
        (xml(*[thing("x")] * 10_001), "10,001 objects"),
        (b" " * (voc.MAX_BYTES + 1), "bytes"),
    ],
)
def test_a_file_that_is_hostile_or_cut_off_gives_no_label(data: bytes, reason: str) -> None:
    problem = only(data)
    assert isinstance(problem, Problem)
    assert reason in problem.reason


def test_a_thousand_boxes_and_no_box_at_all_are_both_an_image() -> None:
    full, empty = only(xml(*[thing("x")] * 1000)), only(xml())
    assert isinstance(full, Entry)
    assert isinstance(empty, Entry)
    assert (len(full.label.regions), empty.label) == (1000, Label())


regions = st.builds(
    Region,
    points=st.builds(
        lambda x, y, w, h, turn: rounded(corners(Rectangle(x, y, w, h, turn))),
        *(st.integers(0, 900), st.integers(0, 900), st.integers(2, 300), st.integers(2, 300)),
        st.sampled_from([0.0, 90.0, 180.0]),
    ),
    text=st.none() | st.text(st.characters(min_codepoint=33, exclude_categories=["Cs", "Cn"]), max_size=9),
    label=st.sampled_from(["", "Text", "<b>"]),
    ignored=st.booleans(),
    id=st.just("w1"),
    extra=st.sampled_from([{}, {"voc": {"pose": "Left", "truncated": "1"}}]),
)


@given(st.lists(regions, max_size=3))
def test_regions_come_back_as_they_were(drawn: list[Region]) -> None:
    label = Label(regions=tuple(drawn))
    data = voc.write("ä b&.jpg", label, width=1200, height=1200)
    assert only(data) == Entry("ä b&.jpg", label, width=1200, height=1200)


def test_a_turned_rectangle_a_polygon_and_a_class_come_back() -> None:
    turned = Region(rounded(corners(Rectangle(200, 200, 80, 20, 33))), "x", id="r1")
    outline = Region(((1, 2), (9, 2), (9, 8), (3, 9)), "y", shape="polygon", id="r2")
    entry = only(voc.write("a.jpg", Label(regions=(turned, outline)), width=400, height=300))
    assert isinstance(entry, Entry)
    one, other = entry.label.regions
    assert other == outline
    assert one.shape == "rectangle"
    for a, b in zip(one.points, turned.points, strict=True):
        assert a == pytest.approx(b, abs=0.002)
    assert only(voc.write("a.jpg", Label("cat"), width=4, height=3), text=False) == Entry(
        "a.jpg", Label("cat"), width=4, height=3
    )
