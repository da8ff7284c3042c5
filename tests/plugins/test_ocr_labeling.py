"""OCR in Label Studio: regions with text there and back."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface.interface import LabelInterface

from plugins import boxes
from plugins.boxes import Rectangle
from plugins.contract import Label, Output, PluginError, Prediction, Region
from plugins.ocr.labeling import (
    config,
    label_from_result,
    result_from_label,
    result_from_prediction,
)

WIDTH, HEIGHT = 1200, 800


def back(label: Label, width: int = WIDTH, height: int = HEIGHT) -> Label:
    """Through Label Studio, as JSON."""
    result = json.loads(json.dumps(result_from_label(label, width=width, height=height)))
    return label_from_result(result, width=width, height=height)


def word(x: float, y: float, width: float, height: float, rotation: float = 0.0, **values: Any) -> Region:
    return Region(boxes.corners(Rectangle(x, y, width, height, rotation)), **{"id": "w1", **values})


def stock(**value: Any) -> list[dict[str, Any]]:
    """One word as Label Studio's own template writes it."""
    place = {"x": 10.0, "y": 20.0, "width": 15.0, "height": 4.0, "rotation": 0, **value}
    common = {"id": "w1", "to_name": "image", "original_width": WIDTH, "original_height": HEIGHT}
    return [
        {**common, "from_name": "bbox", "type": "rectangle", "value": place},
        {**common, "from_name": "label", "type": "labels", "value": {**place, "labels": ["Handwriting"]}},
        {
            **common,
            "from_name": "transcription",
            "type": "textarea",
            "value": {**place, "text": ["INVOICE"]},
        },
    ]


def test_the_three_results_of_the_stock_template_are_one_region() -> None:
    region = Region(boxes.upright(120, 160, 300, 192), "INVOICE", "Handwriting", id="w1")
    assert label_from_result(stock(), width=WIDTH, height=HEIGHT) == Label(regions=(region,))
    shuffled = stock()[::-1]
    assert label_from_result(shuffled, width=WIDTH, height=HEIGHT) == Label(regions=(region,))


def test_shape_and_kind_in_one_result_are_read_too() -> None:
    place = {"x": 10.0, "y": 20.0, "width": 15.0, "height": 4.0, "rotation": 0}
    result: list[dict[str, Any]] = [
        {"id": "a", "type": "rectanglelabels", "value": {**place, "rectanglelabels": ["Text"]}},
        {"id": "a", "type": "textarea", "value": {**place, "text": "one\ntwo"}},
        {
            "id": "b",
            "type": "polygonlabels",
            "value": {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["Stamp"]},
        },
    ]
    one, other = label_from_result(result, width=WIDTH, height=HEIGHT).regions
    assert (one.text, one.label, one.shape) == ("one\ntwo", "Text", "rectangle")
    assert (other.text, other.label, other.shape) == (None, "Stamp", "polygon")
    assert other.points == ((0, 0), (600, 0), (600, 400))


def test_a_rotated_box_of_an_image_that_is_no_square_keeps_its_right_angles() -> None:
    result = stock(rotation=90)
    (region,) = label_from_result(result, width=WIDTH, height=HEIGHT).regions
    assert region.points == ((120, 160), (120, 340), (88, 340), (88, 160))


rectangles = st.builds(
    lambda x, y, width, height, turn: boxes.corners(Rectangle(x, y, width, height, turn)),
    *(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 359.9)),
)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def labels(draw: st.DrawFn) -> tuple[Label, int, int]:
    width, height = draw(st.integers(20, 5000)), draw(st.integers(20, 5000))
    regions = []
    for number in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            side = min(width, height)
            # A box whose circle around its corner stays inside, so that nothing is cut off.
            x, y = draw(st.floats(0.45, 0.55)) * width, draw(st.floats(0.45, 0.55)) * height
            long = draw(st.floats(0.2, 0.3)) * side
            points = boxes.corners(Rectangle(x, y, long, 0.8 * long, draw(st.floats(0, 359.9))))
            shape = "rectangle"
        else:
            corner = st.tuples(st.floats(0, width), st.floats(0, height))
            points = tuple(draw(st.lists(corner, min_size=3, max_size=8)))
            shape = "polygon"
        region = Region(
            boxes.rounded(points),
            draw(texts),
            draw(st.sampled_from(["Text", "Handwriting", "<&\"'>"])),
            shape=shape,  # type: ignore[arg-type]
            ignored=draw(st.booleans()),
            id=f"r{number}",
            extra=draw(st.sampled_from([{}, {"pose": "Left"}, {"meta": {"text": ["note"]}}])),
        )
        if boxes.has_area(region):
            regions.append(region)
    return Label(regions=tuple(regions)), width, height


@given(labels())
def test_regions_survive_label_studio(drawn: tuple[Label, int, int]) -> None:
    label, width, height = drawn
    again = back(label, width, height)
    assert [replace(region, points=()) for region in again.regions] == [
        replace(region, points=()) for region in label.regions
    ]
    for one, other in zip(again.regions, label.regions, strict=True):
        for a, b in zip(one.points, other.points, strict=True):
            assert a == pytest.approx(b, abs=0.02)


@given(labels())
def test_a_second_time_nothing_changes_at_all(drawn: tuple[Label, int, int]) -> None:
    label, width, height = drawn
    once = back(label, width, height)
    for one, other in zip(back(once, width, height).regions, once.regions, strict=True):
        assert replace(one, points=()) == replace(other, points=())
        for a, b in zip(one.points, other.points, strict=True):
            assert a == pytest.approx(b, abs=0.011)


def test_whole_pixels_come_back_exactly() -> None:
    label = Label(regions=(word(3, 7, 411, 29, text="x", label="Text"),))
    assert back(label, 463, 1013) == label


def test_label_studio_takes_what_is_sent() -> None:
    regions = (
        word(100, 100, 200, 40, 30, text="turned", ignored=True),
        Region(((5, 5), (90, 9), (70, 60)), None, "Stamp", shape="polygon", id="w2"),
    )
    result = result_from_label(Label(regions=regions), width=WIDTH, height=HEIGHT)
    interface: Any = LabelInterface(config(["Stamp"]))
    prediction = {"model_version": "v1", "score": 0.5, "result": result}
    assert interface.validate_prediction(prediction, return_errors=True) == []


def test_regions_of_other_controls_are_ignored() -> None:
    result: list[dict[str, Any]] = [
        {"id": "e", "type": "ellipselabels", "value": {"x": 1, "y": 1, "radiusX": 3, "radiusY": 3}},
        {"type": "relation", "from_id": "w1", "to_id": "e", "direction": "right"},
        {"id": "c", "from_name": "quality", "type": "choices", "value": {"choices": ["good"]}},
        {"id": "w1", "from_name": "remark", "type": "textarea", "value": {"text": ["smudged"]}},
        *stock(),
    ]
    (region,) = label_from_result(result, width=WIDTH, height=HEIGHT).regions
    assert region.text == "INVOICE"


@pytest.mark.parametrize(
    "value",
    [
        {"x": "1", "y": 2, "width": 3, "height": 4},
        {"x": float("nan"), "y": 2, "width": 3, "height": 4},
        {"x": 10**400, "y": 2, "width": 3, "height": 4},
        {"points": [[1, 2], [3, 4]]},
        {"points": [[1, 2], [3, 4], [5]]},
        {"points": "abc"},
        {},
        None,
        [],
    ],
)
def test_a_place_that_is_none_makes_no_region(value: Any) -> None:
    result = [{"id": "x", "type": "rectangle", "value": value}, "rubbish"]
    assert label_from_result(result, width=WIDTH, height=HEIGHT) == Label()  # type: ignore[arg-type]


def test_an_image_without_text_has_no_regions() -> None:
    assert label_from_result([], width=WIDTH, height=HEIGHT) == Label()
    assert result_from_label(Label(), width=WIDTH, height=HEIGHT) == []


def test_what_lies_outside_is_cut_off_and_what_lies_wholly_outside_is_not_sent() -> None:
    label = Label(regions=(word(1100, 700, 300, 50, text="a"), word(1300, 10, 50, 50, id="w2")))
    (region,) = back(label).regions
    assert region.points == boxes.upright(1100, 700, 1200, 750)


def test_regions_without_an_id_get_one_that_is_free() -> None:
    label = Label(regions=(word(0, 0, 9, 9, id=""), word(9, 9, 9, 9, id="r1"), word(20, 20, 9, 9, id="r1")))
    ids = [region.id for region in back(label).regions]
    assert len(set(ids)) == 3
    assert ids[1] == "r1"


def test_without_the_size_of_the_image_nothing_is_guessed() -> None:
    with pytest.raises(PluginError, match="check the dataset"):
        result_from_label(Label(regions=(word(0, 0, 9, 9),)), width=0, height=0)
    assert label_from_result(stock(), width=0, height=0).regions[0].points == boxes.upright(
        120, 160, 300, 192
    )


def test_predictions_bring_text_and_score_with_each_region() -> None:
    level = ((0.1, 0.2), (0.25, 0.2), (0.25, 0.24), (0.1, 0.24))
    askew = ((0.5, 0.5), (0.7, 0.52), (0.69, 0.6), (0.5, 0.55))
    prediction = Prediction((Output("INVOICE", 0.93, level), Output("", 0.4, askew)))
    result = result_from_prediction(prediction, width=WIDTH, height=HEIGHT)
    assert {entry["score"] for entry in result} == {0.93, 0.4}
    assert all("score" in entry for entry in result)
    one, other = label_from_result(result, width=WIDTH, height=HEIGHT).regions
    assert (one.text, one.shape, one.points) == ("INVOICE", "rectangle", boxes.upright(120, 160, 300, 192))
    assert (other.text, other.shape) == (None, "polygon")
    interface: Any = LabelInterface(config([]))
    body = {"model_version": "v1", "score": 0.4, "result": result}
    assert interface.validate_prediction(body, return_errors=True) == []


def test_the_configuration_names_the_kinds_once_and_keeps_what_xml_can_hold() -> None:
    xml = ElementTree.fromstring(config(["Stamp", "Text", 'a<b&"c"', "x\x00y"]))
    assert [label.get("value") for label in xml.iter("Label")] == ["Text", "Stamp", 'a<b&"c"', "xy"]
    assert [label.get("hotkey") for label in xml.iter("Label")] == ["1", "2", "3", "4"]
    assert xml.find("Image").get("value") == "$image"  # type: ignore[union-attr]
    default = ElementTree.fromstring(config([]))
    assert [label.get("value") for label in default.iter("Label")] == ["Text", "Handwriting"]
