"""Readers of COCO, CSV and Label Studio JSON: what strangers write, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backend.labels import coco, csv, label_studio
from backend.labels.names import Names, guarded, key_of, written
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
        (b'[{"data": {"image": "a.jpg"}, "choice": "x"}]', "no list of annotations"),
        (_item(), "nobody has labelled"),
        (_item({"result": "x"}), "no list of objects"),
        (_item({"result": [{"type": "choices", "value": {"choices": ["a", "b"]}}]}), "exactly one"),
        (_item({"result": [{"type": "choices", "value": 7}]}), "chooses 0"),
    ],
)
def test_what_is_no_export_of_label_studio_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    assert reason in _problem(label_studio.read(data, classes, text=False)).reason


def _min(**fields: Any) -> bytes:
    item = {"id": 1, "image": "/data/upload/1/0a1b2c3d-a.jpg", "annotation_id": 5, "annotator": "eve@b.c"}
    item |= {"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00Z", "lead_time": 3.1}
    return json.dumps([{**item, **fields}]).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"choice": "Coin"},
        {"kind": "Coin"},
        {"choice": "Coin", "town": "Rome"},
        {"kind": {"choices": ["Coin"]}},
    ],
)
def test_json_min_names_the_class_beside_its_data(fields: dict[str, Any]) -> None:
    (entry,) = _entries(label_studio.read(_min(**fields), classes, text=False))
    assert (entry.name, entry.label.name, entry.by) == ("/data/upload/1/0a1b2c3d-a.jpg", "Coin", "eve@b.c")
    assert entry.at is not None and entry.at.day == 2


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({}, "nobody has labelled"),
        ({"kind": "Coin", "town": "Rome"}, "'kind', 'town' may be its class"),
        ({"choice": {"choices": ["a", "b"]}}, "exactly one"),
        ({"image": None, "choice": "x"}, "names no image"),
    ],
)
def test_json_min_that_tells_no_class_is_refused_with_the_reason(fields: dict[str, Any], reason: str) -> None:
    assert reason in _problem(label_studio.read(_min(**fields), classes, text=False)).reason


MIN_BOX, MIN_POLY = {**BOX, **SIZE}, {"points": [[10, 60], [60, 60], [40, 90]], "closed": True, **SIZE}
MIN = {
    "poly": [MIN_POLY],
    "bbox": [MIN_BOX],
    "label": [{**MIN_BOX, "labels": ["Line"]}, {**MIN_POLY, "labels": ["Hand"]}],
    "transcription": ["Hi", "there"],
}


def test_json_min_tells_regions_by_their_places_and_texts_by_their_order() -> None:
    (entry,) = _entries(label_studio.read(_min(**MIN), texts, text=True))
    found = {(region.text, region.label, region.shape) for region in entry.label.regions}
    assert found == {("Hi", "Line", "rectangle"), ("there", "Hand", "polygon")}
    assert (entry.width, entry.height) == (200, 100)
    one = {"rectanglelabels": ["Line"], **MIN_BOX}
    (entry,) = _entries(label_studio.read(_min(label=[one], transcription="Hi"), texts, text=True))
    assert [(r.text, r.label, r.points[0]) for r in entry.label.regions] == [("Hi", "Line", (20, 20))]


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"transcription": "Hi"}, "1 texts of its 2 regions"),
        ({"label": []}, "2 texts of its 2 regions"),
        ({"legibility": "Illegible"}, "'legibility' belongs to"),
        ({"notes": ["a", "b"]}, "'transcription', 'notes' may be its texts"),
    ],
)
def test_json_min_whose_texts_have_no_certain_region_is_refused(fields: dict[str, Any], reason: str) -> None:
    assert reason in _problem(label_studio.read(_min(**{**MIN, **fields}), texts, text=True)).reason


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
        ({"segmentation": {"counts": "x"}}, "run-length encoded, which is not read, and its bbox is not"),
        ({"segmentation": "x"}, "no list of polygons"),
        ({"segmentation": [[5, 5, 5, 5, 5, 5]]}, "its outline has no area"),
        ({"segmentation": [[5, 5, 5, 5, 5, 5], [5, 5, 5, 5, 5, 5]]}, "its outline has no area"),
        ({"segmentation": [[1, 2, 3]]}, "3 or more pairs"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6], [7]]}, "3 or more pairs"),
        ({"segmentation": [["a"] * 6]}, "3 or more pairs"),
    ],
)
def test_a_coco_region_without_a_place_is_refused_and_not_taken_for_no_text(
    region: dict[str, Any], reason: str
) -> None:
    assert reason in _problem(coco.read(_coco([{"image_id": 0, **region}]), text=True)).reason


def test_several_polygons_of_an_object_become_the_outline_around_them() -> None:
    parts = [[10, 10, 30, 10, 30, 20, 10, 20], [50, 10, 70, 10, 70, 20, 50, 20]]
    region = {"image_id": 0, "category_id": 1, "segmentation": parts, "text": "two words"}
    read = list(coco.read(_coco([region]), text=True))
    (entry,), (problem,) = _entries(read), [one for one in read if isinstance(one, Problem)]
    (found,) = entry.label.regions
    assert (found.points, found.text) == (((10, 10), (70, 10), (70, 20), (10, 20)), "two words")
    assert "its 2 polygons were merged" in problem.reason and problem.name == "a.jpg"
    touching = [parts[0], [30, 10, 70, 10, 70, 20, 30, 20]]
    assert [type(one) for one in coco.read(_coco([{**region, "segmentation": touching}]), text=True)] == [
        Entry
    ], "nothing is lost"


def test_a_mask_of_pixels_is_told_and_its_box_taken() -> None:
    mask = {"size": [100, 200], "counts": "PPYo0"}
    region = {"image_id": 0, "category_id": 1, "segmentation": mask, "bbox": [10, 20, 30, 40], "iscrowd": 1}
    read = list(coco.read(_coco([region]), text=True))
    (entry,), (problem,) = _entries(read), [one for one in read if isinstance(one, Problem)]
    assert "run-length encoded, which is not read: its box was taken" in problem.reason
    assert entry.label.regions[0].points == ((10, 20), (40, 20), (40, 60), (10, 60))


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
        (b'image,label\n"a.jpg,cat\nb.jpg,dog\n', 2, "is not read from here on"),
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


def test_a_polygon_of_many_corners_takes_no_rows_of_a_csv_with_it() -> None:
    points = [[x / 4, x % 7] for x in range(20_000)]
    rows = f'image,text,points\na.jpg,long,"{points}"\nb.jpg,short,"[[0,0],[9,0],[9,9]]"\n'
    assert len(str(points)) > 131_072  # from where Python's own reader refuses
    entries = list(csv.read(rows.encode(), text=True))
    assert [entry.name for entry in _entries(entries)] == ["a.jpg", "b.jpg"] and len(entries) == 2


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


KEYS = [
    "p/x.jpg",
    "p/p/x.jpg",
    "p/p/p/x.jpg",
    "p/a\\b.jpg",
    "p/ a.jpg",
    "p/a.jpg",
    "p/c/ a\\b.jpg",
    "p//x.jpg",
]


@pytest.mark.parametrize("key", KEYS)
def test_every_image_is_found_by_its_key_and_by_what_an_export_calls_it(key: str) -> None:
    names = Names("b", "p/", KEYS)
    name = written(key, "p/")
    for told in (
        key,
        name,
        guarded(name),
        guarded(name).strip(),
        f"s3://b/{key}",
        f"s3://b/{key_of(name, 'p/')}",
    ):
        assert names.find(told) == (key, "")


def test_of_many_images_of_one_file_name_the_one_in_the_most_alike_folders_is_found() -> None:
    keys = [f"p/{a}/{b}/img.jpg" for a in range(40) for b in range(40)]
    names = Names("b", "p/", keys)
    for key in keys:
        assert names.find(f"C:\\mine\\{key[2:]}") == (key, "")
    assert names.find("elsewhere/39/img.jpg") == (
        "",
        "40 images of the dataset are called like it; name it with its folder",
    )
    assert names.find("elsewhere/img.jpg")[1].startswith("1,600 images")
    assert names.find("p/40/0/img.jpg")[1].startswith("40 images"), "of whatever folder around 0"
    assert Names("b", "", ["a/img.jpg", "img.jpg"]).find("x/a/img.jpg") == ("a/img.jpg", "")
