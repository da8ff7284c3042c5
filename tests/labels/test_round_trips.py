"""What is written as COCO, CSV, Label Studio JSON, PPOCRLabel or VOC is read again as it was."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labels import coco, csv, label_studio, ppocrlabel, voc
from backend.labels.records import Entry, Sized
from plugins.boxes import Rectangle, corners, rounded
from plugins.classification import labeling as classes
from plugins.contract import Label, Region
from plugins.ocr import labeling as texts

WIDTH, HEIGHT = 640, 480
Trip = Callable[[Label], Entry]


def _only(records: object) -> Entry:
    found = list(records)  # type: ignore[call-overload]
    assert len(found) == 1 and isinstance(found[0], Entry), found
    return found[0]


def _image(label: Label) -> list[Sized]:
    return [Sized("a/b.jpg", label, WIDTH, HEIGHT)]


def _by_coco(label: Label) -> Entry:
    return _only(coco.read(b"".join(coco.write(_image(label))), text=label.name is None))


def _by_csv(label: Label) -> Entry:
    text = label.name is None
    return _only(csv.read(b"".join(csv.write(_image(label), text=text)), text=text))


def _by_label_studio(label: Label) -> Entry:
    labeling = texts if label.name is None else classes
    written = b"".join(label_studio.write(_image(label), labeling, "s3://bucket/"))
    return _only(label_studio.read(written, labeling, text=label.name is None))


def _by_ppocrlabel(label: Label) -> Entry:
    return _only(ppocrlabel.read(BytesIO(b"".join(ppocrlabel.write([("a/b.jpg", label)])))))


def _by_voc(label: Label) -> Entry:
    written = voc.write("a/b.jpg", label, width=WIDTH, height=HEIGHT)
    return _only(voc.read(written, text=label.name is None))


TRIPS = [_by_coco, _by_csv, _by_label_studio, _by_ppocrlabel, _by_voc]
WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")), min_size=1, max_size=12
).map(lambda word: f"x{word}x")


@st.composite
def regions(draw: st.DrawFn) -> Region:
    """A rectangle, perhaps turned, or a polygon, in the image."""
    x, y = draw(st.integers(150, 400)), draw(st.integers(150, 300))
    width, height = draw(st.integers(5, 100)), draw(st.integers(5, 100))
    turn = draw(st.sampled_from([0.0, 90.0, 180.0, 270.0]) | st.floats(0, 359, width=16))
    points = rounded(corners(Rectangle(x, y, width, height, turn)))
    polygon = draw(st.booleans())
    return Region(
        points=points[:3] if polygon else points,
        text=draw(st.none() | WORDS),
        label=draw(st.sampled_from(["Text", "Handwriting"])),
        shape="polygon" if polygon else "rectangle",
        ignored=draw(st.booleans()),
    )


@pytest.mark.parametrize("trip", TRIPS)
@settings(max_examples=40, deadline=None)
@given(found=st.lists(regions(), min_size=1, max_size=3))
def test_regions_come_back_as_they_were(trip: Trip, found: list[Region]) -> None:
    label = Label(
        regions=tuple(
            Region(r.points, r.text, r.label, r.shape, r.ignored, f"id{n}") for n, r in enumerate(found)
        )
    )
    back = trip(label).label.regions
    for before, after in zip(label.regions, back, strict=True):
        told = (after.text, after.label, after.shape, after.ignored, after.id)
        assert told == (before.text, before.label, before.shape, before.ignored, before.id)
        for (x0, y0), (x1, y1) in zip(before.points, after.points, strict=True):
            assert (x1, y1) == pytest.approx((x0, y0), abs=0.01)


@pytest.mark.parametrize("trip", TRIPS)
def test_an_image_without_text_comes_back_as_one(trip: Trip) -> None:
    assert trip(Label()).label == Label()


@pytest.mark.parametrize("trip", [_by_coco, _by_csv, _by_label_studio, _by_voc])
@given(name=WORDS)
def test_a_class_comes_back_as_it_was(trip: Trip, name: str) -> None:
    entry = trip(Label(name))
    assert (entry.name, entry.label) == ("a/b.jpg", Label(name))


@pytest.mark.parametrize(
    "unit, place",
    [
        ("pixels", "64,48,128,96"),
        ("percent", "10,10,20,20"),
        ("fractions", "0.1,0.1,0.2,0.2"),
    ],
)
def test_a_box_of_a_csv_may_be_in_pixels_percent_or_fractions(unit: str, place: str) -> None:
    row = f"image,width,height,xmin,ymin,xmax,ymax,unit,text\na.jpg,640,480,{place},{unit},Hi\n"
    entry = _only(csv.read(row.encode(), text=True))
    assert entry.label.regions[0].points == ((64.0, 48.0), (128.0, 48.0), (128.0, 96.0), (64.0, 96.0))


@pytest.mark.parametrize("unit, size", [("pixels", "96,48"), ("percent", "15,10"), ("fractions", "0.15,0.1")])
def test_a_turned_box_is_turned_in_pixels_whatever_the_unit(unit: str, size: str) -> None:
    x, y = {"pixels": (320, 240), "percent": (50, 50), "fractions": (0.5, 0.5)}[unit]
    row = "image,width,height,x,y,box_width,box_height,rotation,unit\n"
    entry = _only(csv.read(f"{row}a.jpg,640,480,{x},{y},{size},90,{unit}\n".encode(), text=True))
    assert entry.label.regions[0].points == ((320, 240), (320, 336), (272, 336), (272, 240))
