"""Whatever a label file holds, its reader answers entries and problems, and raises nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.labels import coco, csv, label_studio
from backend.labels.records import Entry, Problem
from plugins.boxes import is_finite
from plugins.classification import labeling as classes
from plugins.ocr import labeling as texts

WORDS = (
    *("data", "image", "annotations", "result", "value", "choices", "type", "from_name", "x", "y", "width"),
    *(
        "height",
        "rotation",
        "points",
        "text",
        "id",
        "images",
        "categories",
        "image_id",
        "category_id",
        "bbox",
    ),
    *("segmentation", "file_name", "name", "attributes", "sightloop", "original_width", "meta", "extra"),
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(WORDS)
ANY = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(WORDS), inner), max_leaves=20
)
RESULT = st.lists(st.dictionaries(st.sampled_from(WORDS), ANY), max_size=3)
ITEM = st.fixed_dictionaries(
    {
        "data": st.just({"image": "a.jpg"}),
        "annotations": st.lists(st.fixed_dictionaries({"result": RESULT | ANY})),
    }
)
COCO = st.fixed_dictionaries(
    {
        "images": st.lists(ANY | st.just({"id": 1, "file_name": "a.jpg"}), max_size=3),
        "annotations": st.lists(
            ANY
            | st.builds(lambda more: {"image_id": 1, **more}, st.dictionaries(st.sampled_from(WORDS), ANY)),
            max_size=3,
        ),
        "categories": st.lists(ANY, max_size=2),
    }
)


def _fit(records: Iterable[Any]) -> None:
    for record in records:
        assert isinstance(record, Entry | Problem)
        if isinstance(record, Problem):
            assert record.reason
        else:
            assert record.name and all(is_finite(region.points) for region in record.label.regions)


@settings(max_examples=200, deadline=None)
@given(items=st.lists(ITEM | ANY, max_size=2))
def test_a_reader_of_label_studio_raises_nothing(items: list[Any]) -> None:
    data = json.dumps(items).encode()
    _fit(label_studio.read(data, classes, text=False))
    _fit(label_studio.read(data, texts, text=True))


@settings(max_examples=200, deadline=None)
@given(found=COCO | ANY)
def test_a_reader_of_coco_raises_nothing(found: Any) -> None:
    data = json.dumps(found).encode()
    _fit(coco.read(data, text=False))
    _fit(coco.read(data, text=True))


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=100) | st.text(max_size=60).map(str.encode))
def test_readers_of_any_bytes_raise_nothing(data: bytes) -> None:
    for text in (False, True):
        _fit(csv.read(b"image,label,points,xmin,ymin,xmax,ymax\n" + data, text=text))
        _fit(csv.read(data, text=text))
        _fit(coco.read(data, text=text))
        _fit(label_studio.read(data, texts if text else classes, text=text))
