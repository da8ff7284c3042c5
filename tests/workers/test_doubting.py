"""Doubtful texts of a dataset, read in their boxes by the pretrained reader."""

from __future__ import annotations

from io import BytesIO

import pytest

from backend.datasets.tables import Operation
from backend.db import transaction
from backend.labels import store
from backend.labels.choices import named
from plugins.boxes import upright
from plugins.contract import Label, Region
from tests.datasets.conftest import Place
from tests.plugins.ocr_renderings import font, page
from tests.workers.test_choosing import doubtful, run

TEXTS = [(30, 40, "Total 12.50"), (30, 140, "Invoice 4711"), (30, 240, "Thank you"), (30, 340, "Cash 20.00")]


def _box(left: int, top: int, text: str) -> Region:
    box = font(24).getbbox(text)
    return Region(upright(left + box[0] - 2, top + box[1] - 2, left + box[2] + 2, top + box[3] + 2), text)


def _regions(**wrong: str) -> tuple[Region, ...]:
    """The texts as they are, but for those that `wrong` says by their first word."""
    return (
        tuple(_box(left, top, text) for left, top, text in TEXTS)
        if not wrong
        else tuple(
            Region(_box(left, top, text).points, wrong.get(text.split()[0], text))
            for left, top, text in TEXTS
        )
    )


@pytest.fixture
def texts(place: Place) -> Place:
    """Three pages with the same texts."""
    with transaction(place.sessions) as session:
        place.dataset = session.merge(place.dataset)
        place.dataset.type = "ocr"
    stream = BytesIO()
    page(TEXTS).save(stream, "PNG")
    for name in ("a.png", "b.png", "c.png"):
        place.put(name, stream.getvalue())
    place.sync()
    place.check()
    return place


def _label(place: Place, name: str, *regions: Region) -> None:
    with transaction(place.sessions) as session:
        image = session.merge(place.images()[name])
        store.apply(session, image, Label(regions=regions), source="label_studio")


def _ended(place: Place) -> Operation:
    ended: Operation = run(place, "doubts")
    return ended


def test_a_text_that_the_reader_surely_reads_otherwise_is_doubted_until_it_is_changed(texts: Place) -> None:
    for name in ("a.png", "b.png"):
        _label(texts, name, *_regions())
    _label(texts, "c.png", *_regions(Invoice="Invoice 4171"))
    ended = _ended(texts)
    assert (ended.state, ended.result["labelled"], ended.result["doubtful"]) == ("succeeded", 12, 1), (
        ended.error
    )
    (found,) = doubtful(texts)
    assert (found.key, found.region) == (f"{texts.prefix}c.png", "#2")
    assert (found.label, found.suggested) == ("Invoice 4171", "Invoice 4711")
    assert found.confidence > 0.8 and found.found_by == ended.result["by"] == "pp-ocrv6-small"
    _label(texts, "c.png", *_regions())
    assert doubtful(texts) == []


def test_what_nobody_can_read_or_has_transcribed_is_not_doubted(texts: Place) -> None:
    first, second, *_ = _regions()
    _label(texts, "a.png", Region(first.points, "nonsense", ignored=True), Region(second.points, None))
    ended = _ended(texts)
    assert (ended.state, ended.error_code) == ("failed", "not_enough_data")
    assert "label some text first" in ended.error


def test_regions_are_named_by_their_ids_and_else_by_their_numbers() -> None:
    found = named([Region((), "a", id="x"), Region((), "b"), Region((), "c", id="x")])
    assert {name: region.text for name, region in found.items()} == {"x": "a", "#2": "b", "#3": "c"}
