"""Label files that lie beside the images of a dataset of text."""

from __future__ import annotations

import json

import pytest

from backend.datasets import operations, registry
from backend.datasets.operations import AttemptRefused
from backend.db import transaction
from backend.labels import bucket, store
from plugins.contract import Label, Region
from tests.datasets.conftest import Draw, Place

BOX = ((4.0, 5.0), (40.0, 5.0), (40.0, 20.0), (4.0, 20.0))


def xml(text: str, filename: str = "else.jpg", size: str = "") -> bytes:
    return (
        f"<annotation><filename>{filename}</filename>{size}<object><name>{text}</name><bndbox>"
        "<xmin>4</xmin><ymin>5</ymin><xmax>40</xmax><ymax>20</ymax></bndbox></object></annotation>"
    ).encode()


@pytest.fixture
def texts(place: Place) -> Place:
    with transaction(place.sessions) as session:
        place.dataset = session.merge(place.dataset)
        place.dataset.type = "ocr"
    return place


def read(place: Place) -> dict[str, int]:
    """Sync, then the label files, as the job does."""
    place.sync()
    operation = place.operation()
    counts = bucket.read_all(place.sessions, place.store, place.dataset, operation)
    with transaction(place.sessions) as session:
        operations.finish(session, operation.id, operation.attempt, dict(counts))
    return counts


def label(place: Place, name: str) -> Label | None:
    return store.label_of(place.images()[name])


def test_an_xml_labels_the_image_beside_it_whatever_its_filename_says(texts: Place, draw: Draw) -> None:
    texts.put("a/x.jpg", draw(1))
    texts.put("b/x.jpg", draw(2))
    texts.put("a/x.xml", xml("EXIT", filename="b/x.jpg"))
    assert read(texts) == {"labels_changed": 1, "labels_same": 0, "labels_kept": 0, "labels_left_out": 0}
    found = label(texts, "a/x.jpg")
    assert found is not None and [(one.text, one.points) for one in found.regions] == [("EXIT", BOX)]
    assert label(texts, "b/x.jpg") is None
    assert texts.images()["a/x.jpg"].label_source == "voc"


def test_a_changed_xml_changes_the_label_and_an_unchanged_one_nothing(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", xml("one"))
    read(texts)
    assert read(texts)["labels_same"] == 1
    texts.put("x.xml", xml("two"))
    assert read(texts)["labels_changed"] == 1
    found = label(texts, "x.jpg")
    assert found is not None and found.regions[0].text == "two"


def test_label_txt_names_its_images_and_yields_to_xml(texts: Place, draw: Draw) -> None:
    for number, name in enumerate(("x.jpg", "y.jpg")):
        texts.put(name, draw(number))
    value = json.dumps([{"transcription": "from txt", "points": BOX}])
    texts.put("Label.txt", f"x.jpg\t{value}\ny.jpg\t{value}\nz.jpg\t{value}\nbroken\n".encode())
    texts.put("x.xml", xml("from xml"))
    read(texts)
    said = {name: label(texts, name) for name in ("x.jpg", "y.jpg")}
    assert {name: one and one.regions[0].text for name, one in said.items()} == {
        "x.jpg": "from xml",
        "y.jpg": "from txt",
    }
    assert len(texts.messages("label_left_out")) == 2


def test_what_a_person_said_stays(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.sync()
    said = Label(regions=(Region(BOX, "by hand"),))
    with transaction(texts.sessions) as session:
        image = session.merge(texts.images()["x.jpg"])
        store.apply(session, image, said, source="label_studio")
    texts.put("x.xml", xml("from xml"))
    assert read(texts)["labels_kept"] == 1
    found = label(texts, "x.jpg")
    assert found is not None and found.regions[0].text == "by hand"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("y.xml", xml("alone"), "no image of its name"),
        ("x.xml", b"<annotation><object>", "no whole XML file"),
        ("x.xml", b'<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "line 1"),
    ],
)
def test_what_cannot_be_read_is_a_finding_and_the_rest_is_taken(
    texts: Place, draw: Draw, name: str, data: bytes, reason: str
) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("good.jpg", draw(2))
    texts.put("good.xml", xml("fine"))
    texts.put(name, data)
    assert read(texts)["labels_left_out"] == 1
    (message,) = texts.messages("label_left_out")
    assert message.startswith(name) and reason in message
    assert label(texts, "good.jpg") is not None
    texts.drop(name)
    read(texts)
    assert texts.messages("label_left_out") == []


def test_an_xml_between_two_images_of_its_name_is_a_finding(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.png", draw(2, "PNG"))
    texts.put("x.xml", xml("which"))
    read(texts)
    (message,) = texts.messages("label_left_out")
    assert "several images" in message


def test_label_files_are_counted_and_are_no_foreign_objects(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", xml("one"))
    texts.put("notes.pdf", b"x")
    counts = texts.sync()
    assert counts["label_files"] == 1 and counts["listed"] == 3
    assert texts.messages("not_an_image") == []


def test_datasets_of_classes_are_left_as_they_are(place: Place, draw: Draw) -> None:
    place.put("bolt/x.jpg", draw(1))
    place.put("bolt/x.xml", xml("nut"))
    assert read(place) == {}
    assert place.images()["bolt/x.jpg"].label == "bolt"


def test_a_late_attempt_writes_nothing(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", xml("late"))
    texts.sync()
    operation = texts.operation()
    with transaction(texts.sessions) as session:
        operations.finish(session, operation.id, operation.attempt, {})
    with pytest.raises(AttemptRefused):
        bucket.read_all(texts.sessions, texts.store, texts.dataset, operation)
    assert label(texts, "x.jpg") is None


def test_images_with_regions_count_as_labelled_also_those_without_text(texts: Place, draw: Draw) -> None:
    for number, name in enumerate(("read.jpg", "empty.jpg", "unknown.jpg")):
        texts.put(name, draw(number))
    texts.put("read.xml", xml("one"))
    texts.put("empty.xml", b"<annotation/>")
    read(texts)
    texts.check()
    with texts.sessions() as session:
        numbers = registry.summary(session, texts.dataset)
        unlabelled = registry.images(session, texts.dataset, labelled=False)
    assert (numbers["labelled"], numbers["unlabelled"], numbers["usable"]) == (2, 1, 2)
    assert numbers["classes"] == []
    assert [image.key.removeprefix(texts.prefix) for image in unlabelled] == ["unknown.jpg"]
