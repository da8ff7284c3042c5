"""What is written as COCO, CSV, Label Studio JSON, PPOCRLabel or VOC is read again as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.converter import Converter

from backend.labels import coco, csv, label_studio, ppocrlabel, voc
from backend.labels.records import Entry, Sized
from plugins.boxes import Rectangle, corners, rounded
from plugins.classification import labeling as classes
from plugins.contract import Label, Region
from plugins.ocr import labeling as texts

WIDTH, HEIGHT = 640, 480
SIZES = [(WIDTH, HEIGHT), (480, 640), (2000, 300), (301, 1999)]
Trip = Callable[..., Entry]


def _only(records: object) -> Entry:
    found = list(records)  # type: ignore[call-overload]
    assert len(found) == 1 and isinstance(found[0], Entry), found
    return found[0]


def _image(label: Label, width: int = WIDTH, height: int = HEIGHT) -> list[Sized]:
    return [Sized("a/b.jpg", label, width, height)]


def _by_coco(label: Label, *size: int) -> Entry:
    return _only(coco.read(b"".join(coco.write(_image(label, *size))), text=label.name is None))


def _by_csv(label: Label, *size: int) -> Entry:
    text = label.name is None
    return _only(csv.read(b"".join(csv.write(_image(label, *size), text=text)), text=text))


def _by_label_studio(label: Label, *size: int) -> Entry:
    labeling = texts if label.name is None else classes
    written = b"".join(label_studio.write(_image(label, *size), labeling, "s3://bucket/"))
    return _only(label_studio.read(written, labeling, text=label.name is None))


def _by_ppocrlabel(label: Label, *size: int) -> Entry:
    return _only(ppocrlabel.read(BytesIO(b"".join(ppocrlabel.write([("a/b.jpg", label)])))))


def _by_voc(label: Label, width: int = WIDTH, height: int = HEIGHT) -> Entry:
    written = voc.write("a/b.jpg", label, width=width, height=height)
    return _only(voc.read(written, text=label.name is None))


TRIPS = [_by_coco, _by_csv, _by_label_studio, _by_ppocrlabel, _by_voc]
WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Zl", "Zp")), min_size=1, max_size=12
).map(lambda word: f"x{word}x")


@st.composite
def regions(draw: st.DrawFn, size: tuple[int, int]) -> Region:
    """A rectangle, perhaps turned, or a polygon of 3 to 5 corners, in an image of that size."""
    reach = min(size) // 6
    x, y = (side // 2 + draw(st.integers(-reach, reach)) for side in size)
    width, height = draw(st.integers(5, reach)), draw(st.integers(5, reach))
    turn = draw(st.sampled_from([0.0, 90.0, 180.0, 270.0]) | st.floats(0, 359, width=16))
    points = rounded(corners(Rectangle(x, y, width, height, turn)))
    polygon = draw(st.sampled_from([(), points[:3], (*points[:3], (x + 0.5, y + 2.25)), (*points, (x, y))]))
    return Region(
        points=polygon or points,
        text=draw(st.none() | WORDS),
        label=draw(st.sampled_from(["Text", "Handwriting"])),
        shape="polygon" if polygon else "rectangle",
        ignored=draw(st.booleans()),
    )


@pytest.mark.parametrize("trip", TRIPS)
@pytest.mark.parametrize("size", SIZES)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_regions_come_back_as_they_were(trip: Trip, size: tuple[int, int], data: st.DataObject) -> None:
    found = data.draw(st.lists(regions(size), min_size=1, max_size=3))
    label = Label(
        regions=tuple(
            Region(r.points, r.text, r.label, r.shape, r.ignored, f"id{n}") for n, r in enumerate(found)
        )
    )
    back = trip(label, *size).label.regions
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


def test_what_label_studios_own_converter_writes_as_json_min_is_read(tmp_path: Path) -> None:
    turned = rounded(corners(Rectangle(150, 100, 90, 20, 30)))
    label = Label(
        regions=(
            Region(turned[:3], "there", "Handwriting", "polygon", id="a"),
            Region(turned, "Hi", "Text", id="b"),
        )
    )
    for said, labeling, config in (
        (label, texts, texts.config([])),
        (Label("x"), classes, classes.config(["x"])),
    ):
        source = tmp_path / "label-studio.json"
        (item,) = json.loads(b"".join(label_studio.write(_image(said, 301, 1999), labeling, "s3://b/")))
        told = {"id": 1, "completed_by": {"id": 1, "email": "a@b.c"}, "lead_time": 1.0}
        told |= {"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-01T00:00:00Z"}
        item["annotations"][0] |= told
        source.write_text(json.dumps([{"id": 1, **item}]))
        converter: Any = Converter
        converter(config, str(tmp_path)).convert_to_json_min(str(source), str(tmp_path), is_dir=False)
        written = (tmp_path / "result.json").read_bytes()
        entry = _only(label_studio.read(written, labeling, text=said.name is None))
        assert entry.name == "a/b.jpg" and entry.label.name == said.name
        back = sorted(entry.label.regions, key=lambda region: region.shape)
        for before, after in zip(said.regions, back, strict=True):
            assert (after.text, after.label, after.shape) == (before.text, before.label, before.shape)
            assert [value for point in after.points for value in point] == pytest.approx(
                [value for point in before.points for value in point], abs=0.01
            )


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
