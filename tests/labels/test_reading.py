"""Readers of COCO, CSV and Label Studio JSON: what strangers write, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.labels import coco, csv, label_studio
from backend.labels.names import Names
from backend.labels.records import Entry, Problem
from plugins.classification import labeling as classes
from plugins.ocr import labeling as texts

BOX = {"x": 10.0, "y": 20.0, "width": 5.0, "height": 5.0, "rotation": 0}
SIZE = {"original_width": 200, "original_height": 100}


def _problem(records: Any) -> Problem:
    found = list(records)
    assert len(found) == 1 and isinstance(found[0], Problem), found
    return found[0]


def _entries(records: Any) -> list[Entry]:
    return [each for each in records if isinstance(each, Entry)]


def _item(*annotations: dict[str, Any], image: str = "s3://other/Coin3.jpg") -> bytes:
    return json.dumps([{"id": 1, "data": {"image": image}, "annotations": list(annotations)}]).encode()


def _choice(name: str, **more: Any) -> dict[str, Any]:
    value = {"type": "choices", "from_name": "choice", "to_name": "image", "value": {"choices": [name]}}
    return {"result": [value], "was_cancelled": False, **more}


def test_an_export_of_label_studio_with_escaped_slashes_is_read() -> None:
    written = (
        _item(_choice("Coin", updated_at="2025-06-20T08:35:28.088982Z", completed_by=1))
        .decode()
        .replace("/", "\\/")
    )
    (entry,) = _entries(label_studio.read(written.encode(), classes, text=False))
    assert (entry.name, entry.label.name, entry.by) == ("s3://other/Coin3.jpg", "Coin", "1")
    assert entry.at is not None and entry.at.year == 2025


def test_the_newest_annotation_counts_and_ground_truth_before_all() -> None:
    old, new = (_choice(name, updated_at=f"2025-01-0{day}T00:00:00Z") for name, day in (("a", 1), ("b", 2)))
    (entry,) = _entries(label_studio.read(_item(new, old), classes, text=False))
    assert entry.label.name == "b"
    (entry,) = _entries(label_studio.read(_item(new, {**old, "ground_truth": True}), classes, text=False))
    assert entry.label.name == "a"


def test_regions_of_the_older_form_are_read_in_pixels() -> None:
    result = [
        {"id": "x", "type": "rectanglelabels", "value": {**BOX, "rectanglelabels": ["Line"]}, **SIZE},
        {"id": "x", "type": "textarea", "from_name": "t", "value": {**BOX, "text": ["Hi"]}, **SIZE},
    ]
    (entry,) = _entries(label_studio.read(_item({"result": result}), texts, text=True))
    (region,) = entry.label.regions
    assert (region.text, region.label, region.points[0], region.points[2]) == (
        "Hi",
        "Line",
        (20, 20),
        (30, 25),
    )
    assert (entry.width, entry.height) == (200, 100)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "a list is missing"),
        (b"{}", "a list is missing"),
        (b"[1, 2", "cut off"),
        (b"[NaN]", "NaN is no number"),
        (b"[1e999]", "1e999 is no number"),
        (b"[" * 200_000, "too deep"),
        (b"[" + b"9" * 10_000 + b"]", "too many digits"),
        (b"[\xff]", "not UTF-8"),
        (b"[1] 2", "behind the end"),
        (b"[1]", "names no image"),
        (b'[{"data": {"image": 3}, "annotations": []}]', "names no image"),
        (b'[{"data": {"image": "a.jpg"}, "choice": "x"}]', "JSON-MIN"),
        (_item(), "nobody has labelled"),
        (_item({"result": "x"}), "no list of objects"),
        (_item({"result": [{"type": "choices", "value": {"choices": ["a", "b"]}}]}), "exactly one"),
        (_item({"result": [{"type": "choices", "value": 7}]}), "chooses 0"),
    ],
)
def test_what_is_no_export_of_label_studio_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    assert reason in _problem(label_studio.read(data, classes, text=False)).reason


def test_a_problem_names_the_line_of_its_item() -> None:
    data = b'[\n{"data": {"image": "a.jpg"}, "annotations": []},\n\n{"data": {}}\n]'
    assert [problem.line for problem in label_studio.read(data, classes, text=False)] == [2, 4]


def _coco(annotations: Any, **image: Any) -> bytes:
    images = [{"id": 0, "file_name": "a.jpg", "width": 200, "height": 100, **image}]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def test_the_category_of_a_coco_file_is_the_class() -> None:
    two = [{"id": n, "image_id": 0, "category_id": 1} for n in range(2)]
    (entry,) = _entries(coco.read(_coco(two), text=False))
    assert (entry.name, entry.label.name) == ("a.jpg", "cat")


def test_a_turned_box_of_cvat_is_turned_about_its_centre() -> None:
    box = {"image_id": 0, "category_id": 1, "bbox": [40, 40, 20, 10], "attributes": {"rotation": 90}}
    (entry,) = _entries(coco.read(_coco([box]), text=True))
    assert entry.label.regions[0].points == ((55, 35), (55, 55), (45, 55), (45, 35))


@pytest.mark.parametrize(
    "region, reason",
    [
        ({"bbox": [1, 2, 3]}, "not four numbers"),
        ({"bbox": [1, 2, 0, 5]}, "no area"),
        ({"bbox": [1, 2, 1e300, 5]}, "not four numbers"),
        ({"bbox": [True, 2, 3, 5]}, "not four numbers"),
        ({"segmentation": {"counts": "x"}}, "run-length"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6]] * 2}, "not one polygon"),
        ({"segmentation": [[1, 2, 3]]}, "3 or more pairs"),
        ({"segmentation": [["a"] * 6]}, "3 or more pairs"),
    ],
)
def test_a_coco_region_without_a_place_is_refused_and_not_taken_for_no_text(
    region: dict[str, Any], reason: str
) -> None:
    assert reason in _problem(coco.read(_coco([{"image_id": 0, **region}]), text=True)).reason


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"[]", "an object is missing"),
        (b'{"images": []}', "no list 'annotations'"),
        (b'{"images": [], "annotations": [{"image_id": [1]}]}', "names no image"),
        (b'{"images": [], "annotations": [{"image_id": 7}]}', "does not list"),
        (b'{"images": [{"id": 1}], "annotations": []}', "no file_name"),
        (_coco([]), "no annotation"),
        (_coco([{"image_id": 0, "category_id": n} for n in (1, 2)]), "name 2: 'cat', 'dog'"),
        (b'{"images": [], "annotations": [Infinity]}', "Infinity is no number"),
    ],
)
def test_what_is_no_coco_file_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    assert reason in _problem(coco.read(data, text=False)).reason


def test_a_csv_is_read_by_its_columns_names_whatever_the_delimiter() -> None:
    data = "\ufefflabel;file_name\ncat;a.jpg\ndog;b.jpg\n".encode()
    found = [(entry.name, entry.label.name, entry.line) for entry in _entries(csv.read(data, text=False))]
    assert found == [("a.jpg", "cat", 2), ("b.jpg", "dog", 3)]


@pytest.mark.parametrize(
    "data, line, reason",
    [
        (b"", 1, "no column names the image"),
        (b"image\na.jpg\n", 1, "no column names the class"),
        (b"image,label\na.jpg\n", 2, "1 values"),
        (b"image,label\n\n,cat\n", 3, "names no image"),
        (b"image,label\na.jpg,\n", 2, "names no class"),
        (b"image,label\na.jpg,x\na.jpg,y\n", 2, "names 2"),
        (b'image,label\na.jpg,"' + b"x" * 200_000 + b'"\n', 2, "field larger"),
    ],
)
def test_what_a_csv_cannot_say_is_refused_with_its_line(data: bytes, line: int, reason: str) -> None:
    problem = _problem(csv.read(data, text=False))
    assert problem.line == line and reason in problem.reason


@pytest.mark.parametrize(
    "columns, values, reason",
    [
        ("text", "Hi", "no place"),
        ("points", '"[[1,2],[3,4]]"', "3 or more"),
        ("points", '"[[1,2],[3,4],[NaN,1]]"', "no JSON"),
        ("points", '"[[1,2],[3,4],[1]]"', "not pairs"),
        ("xmin,ymin,xmax,ymax", "1,2,inf,4", "xmax is no number"),
        ("xmin,ymin,xmax,ymax", "1,2,1,4", "no area"),
        ("xmin,ymin,xmax,ymax,unit", "1,2,3,4,percent", "width and height"),
        ("xmin,ymin,xmax,ymax,unit", "1,2,3,4,inches", "unit 'inches'"),
    ],
)
def test_a_csv_region_without_a_place_is_refused(columns: str, values: str, reason: str) -> None:
    data = f"image,{columns}\na.jpg,{values}\n".encode()
    assert reason in _problem(csv.read(data, text=True)).reason


NAMES = Names("b", "p/", ["p/cat/1.jpg", "p/dog/1.jpg", "p/dog/2.jpg", "p/x y.jpg"])


@pytest.mark.parametrize(
    "name, key",
    [
        ("p/cat/1.jpg", "p/cat/1.jpg"),
        ("cat/1.jpg", "p/cat/1.jpg"),
        ("s3://b/p/dog/1.jpg", "p/dog/1.jpg"),
        ("s3://other/where/2.jpg", "p/dog/2.jpg"),
        ("/home/me/dog/1.jpg", "p/dog/1.jpg"),
        ("C:\\images\\dog\\1.jpg", "p/dog/1.jpg"),
        ("./2.jpg", "p/dog/2.jpg"),
        ("/data/local-files/?d=cat/1.jpg", "p/cat/1.jpg"),
        ("/data/upload/3/0a1b2c3d-2.jpg", "p/dog/2.jpg"),
        ("https://here/p/x%20y.jpg", "p/x y.jpg"),
        ("1.jpg", ""),
        ("http://[", ""),
        ("3.jpg", ""),
    ],
)
def test_an_image_is_found_by_its_name_if_only_one_is_meant(name: str, key: str) -> None:
    assert NAMES.find(name)[0] == key
