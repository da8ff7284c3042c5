"""Label files that lie beside the images of a dataset of text."""

from __future__ import annotations

import json
from io import BytesIO
from zipfile import ZipFile

import pytest
from sqlalchemy import select

from backend.datasets import operations, registry
from backend.datasets.operations import AttemptRefused
from backend.db import transaction
from backend.labels import bucket, exporting, files, store
from backend.labels.tables import LabelChange
from plugins.contract import Label, Region
from tests.datasets.conftest import Draw, Place

BOX = ((4.0, 5.0), (40.0, 5.0), (40.0, 20.0), (4.0, 20.0))


def xml(text: str, filename: str = "else.jpg", size: str = "") -> bytes:
    return (
        f"<annotation><filename>{filename}</filename>{size}<object><name>{text}</name><bndbox>"
        "<xmin>4</xmin><ymin>5</ymin><xmax>40</xmax><ymax>20</ymax></bndbox></object></annotation>"
    ).encode()


def read(place: Place) -> dict[str, int]:
    """Sync, then the label files, as the job does."""
    met = place.sync().get("label_files", 0)
    operation = place.operation()
    counts = bucket.read_all(place.sessions, place.store, place.dataset, operation, met=met)
    with transaction(place.sessions) as session:
        operations.finish(session, operation.id, operation.attempt, dict(counts))
    return counts


def label(place: Place, name: str) -> Label | None:
    return store.label_of(place.images()[name])


def text(place: Place, name: str) -> str | None:
    """What the one region of the image says; None where nothing is known."""
    found = label(place, name)
    return found.regions[0].text if found is not None else None


def txt(**texts: str) -> bytes:
    """A Label.txt with one region an image."""
    lines = (
        f"{name}.jpg\t{json.dumps([{'transcription': said, 'points': BOX}])}\n"
        for name, said in texts.items()
    )
    return "".join(lines).encode()


def history(place: Place) -> list[LabelChange]:
    with place.sessions() as session:
        return list(session.scalars(select(LabelChange).order_by(LabelChange.id)))


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


def test_the_label_of_a_deleted_file_goes_and_the_history_says_so(texts: Place, draw: Draw) -> None:
    for number, name in enumerate(("x.jpg", "y.jpg")):
        texts.put(name, draw(number))
        texts.put(name.replace("jpg", "xml"), xml(name))
    read(texts)
    texts.drop("x.xml")
    assert read(texts)["labels_withdrawn"] == 1
    image = texts.images()["x.jpg"]
    assert (image.regions, image.label_source, image.label_file) == (None, None, None)
    assert text(texts, "y.jpg") == "y.jpg"
    last = history(texts)[-1]
    assert (last.file, last.file_removed, last.after) == (f"{texts.prefix}x.xml", True, None)
    assert last.before is not None and last.before["regions"][0]["text"] == "x.jpg"
    assert "labels_withdrawn" not in read(texts)


def test_the_last_label_file_that_is_deleted_takes_its_labels_too(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("Label.txt", txt(x="one"))
    read(texts)
    texts.drop("Label.txt")
    assert read(texts) == {"labels_withdrawn": 1}
    assert label(texts, "x.jpg") is None


def test_a_line_taken_out_of_a_file_takes_its_label_but_a_damaged_one_none(texts: Place, draw: Draw) -> None:
    for number, name in enumerate(("x.jpg", "y.jpg")):
        texts.put(name, draw(number))
    texts.put("Label.txt", txt(x="one", y="two"))
    read(texts)
    texts.put("Label.txt", txt(x="one") + b"y.jpg damaged\n")
    assert "labels_withdrawn" not in read(texts)
    assert text(texts, "y.jpg") == "two", "nobody knows what the damaged line is about"
    texts.put("Label.txt", txt(x="one"))
    assert read(texts)["labels_withdrawn"] == 1
    assert (text(texts, "x.jpg"), label(texts, "y.jpg")) == ("one", None)


def test_a_file_that_is_damaged_now_loses_no_label(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", xml("one"))
    read(texts)
    texts.put("x.xml", b"<annotation><obj")
    read(texts)
    assert text(texts, "x.jpg") == "one"
    assert len(texts.messages("label_left_out")) == 1


def test_a_deleted_file_leaves_the_word_to_the_next_strongest(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("Label.txt", txt(x="from txt"))
    texts.put("x.xml", xml("from xml"))
    read(texts)
    assert text(texts, "x.jpg") == "from xml"
    texts.drop("x.xml")
    read(texts)
    assert text(texts, "x.jpg") == "from txt"
    assert texts.images()["x.jpg"].label_file == f"{texts.prefix}Label.txt"


def test_what_a_person_has_changed_since_outlives_the_file(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", xml("from xml"))
    read(texts)
    said = Label(regions=(Region(BOX, "by hand"),))
    with transaction(texts.sessions) as session:
        store.apply(session, session.merge(texts.images()["x.jpg"]), said, source="label_studio")
    texts.drop("x.xml")
    assert read(texts) == {}
    assert text(texts, "x.jpg") == "by hand"


def test_an_imported_label_stays_without_a_file_in_the_bucket_and_comes_back(
    texts: Place, draw: Draw
) -> None:
    texts.put("x.jpg", draw(1))
    texts.sync()
    said = b"image,text,xmin,ymin,xmax,ymax\nx.jpg,imported,4,5,40,20\n"
    files.import_file(texts.sessions, texts.dataset, "mine.csv", said)
    assert read(texts) == {}
    texts.put("x.xml", xml("from xml"))
    read(texts)
    assert text(texts, "x.jpg") == "from xml"
    texts.drop("x.xml")
    read(texts)
    assert text(texts, "x.jpg") == "imported"
    assert texts.images()["x.jpg"].label_source == "csv"


def test_a_newer_import_counts_before_an_older_file_of_the_same_format(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", xml("old"))
    read(texts)
    files.import_file(texts.sessions, texts.dataset, "x.xml", xml("imported", filename="x.jpg"))
    assert read(texts)["labels_kept"] == 1
    assert text(texts, "x.jpg") == "imported"


def test_a_renamed_image_keeps_what_a_person_said_of_its_text(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("y.jpg", draw(2))
    texts.put("y.xml", xml("of y"))
    read(texts)
    said = Label(regions=(Region(BOX, "by hand"),))
    with transaction(texts.sessions) as session:
        store.apply(
            session, session.merge(texts.images()["x.jpg"]), said, source="label_studio", author="eve"
        )
    texts.drop("x.jpg", "y.jpg")
    texts.put("x2.jpg", draw(1))
    texts.put("y2.jpg", draw(2))
    read(texts)
    image = texts.images()["x2.jpg"]
    assert (text(texts, "x2.jpg"), image.label_source, image.labelled_by) == (
        "by hand",
        "label_studio",
        "eve",
    )
    assert label(texts, "y2.jpg") is None, "its file has another name"


def _studio(image: str, chosen: str) -> bytes:
    value = {"type": "choices", "from_name": "choice", "to_name": "image", "value": {"choices": [chosen]}}
    return json.dumps([{"data": {"image": image}, "annotations": [{"result": [value]}]}]).encode()


def test_csv_and_json_label_classes_before_the_folder_and_give_them_back(place: Place, draw: Draw) -> None:
    for number, name in enumerate(("bolt/x.jpg", "bolt/y.jpg", "bolt/z.jpg")):
        place.put(name, draw(number))
    place.put("labels.csv", b"image,label\nbolt/x.jpg,nut\n")
    place.put("export.json", _studio("y.jpg", "washer"))
    coco = {
        "images": [{"id": 1, "file_name": "z.jpg"}],
        "annotations": [{"image_id": 1, "category_id": 1}],
        "categories": [{"id": 1, "name": "gear"}],
    }
    place.put("coco/instances.json", json.dumps(coco).encode())
    assert read(place)["labels_changed"] == 3
    assert {name: image.label for name, image in place.images().items()} == {
        "bolt/x.jpg": "nut",
        "bolt/y.jpg": "washer",
        "bolt/z.jpg": "gear",
    }
    assert read(place)["labels_same"] == 3
    place.put("export.json", _studio("y.jpg", "gasket"))
    read(place)
    assert place.images()["bolt/y.jpg"].label == "gasket"
    place.drop("labels.csv", "export.json", "coco/instances.json")
    assert read(place) == {"labels_withdrawn": 3}
    assert {(image.label, image.label_source) for image in place.images().values()} == {("bolt", "folder")}


def test_json_without_labels_is_named_and_not_taken(place: Place, draw: Draw) -> None:
    place.put("bolt/x.jpg", draw(1))
    place.put("bolt/x.json", b'{"annotations": [], "images": []}')  # a camera's own, beside its image
    place.put("info.json", b'{"camera": 7}')
    read(place)
    assert place.images()["bolt/x.jpg"].label == "bolt"
    assert place.messages("label_left_out") == []
    assert len(place.messages("no_label_file")) == 2


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
        bucket.read_all(texts.sessions, texts.store, texts.dataset, operation, met=1)
    assert label(texts, "x.jpg") is None


def test_a_label_of_which_nothing_lies_inside_of_the_image_is_not_taken_for_no_text(
    texts: Place, draw: Draw
) -> None:
    texts.put("x.jpg", draw(1))
    texts.sync()
    texts.check()
    texts.put("x.xml", xml("far off").replace(b">4<", b">400<").replace(b">40<", b">440<"))
    assert read(texts)["labels_left_out"] == 1
    assert label(texts, "x.jpg") is None
    (message,) = texts.messages("label_left_out")
    assert "none of its 1 regions lies inside" in message


@pytest.mark.parametrize("format_", ["label-studio", "coco", "csv", "ppocrlabel"])
def test_an_export_gives_each_label_back_to_its_own_image_whatever_it_is_called(
    texts: Place, draw: Draw, format_: str
) -> None:
    named = ["x.jpg", f"{texts.prefix}x.jpg", " c.jpg"]
    for number, name in enumerate(named):
        texts.put(name, draw(number))
    texts.sync()
    texts.check()
    with transaction(texts.sessions) as session:
        for name, image in texts.images().items():
            said = Label(regions=(Region(BOX, name),))
            store.apply(session, session.merge(image), said, source="csv")
    data = b"".join(exporting.write(texts.sessions, texts.dataset, format_))
    with transaction(texts.sessions) as session:
        for image in texts.images().values():
            store.apply(session, session.merge(image), None, source="csv")
    counts = files.import_file(texts.sessions, texts.dataset, "export", data, format_)
    assert (counts["changed"], counts["left_out"]) == (3, 0)
    assert {name: text(texts, name) for name in texts.images()} == {name: name for name in named}


def test_a_zip_of_voc_files_has_each_where_its_image_lies_below_the_prefix(texts: Place, draw: Draw) -> None:
    for name in ("x.jpg", f"{texts.prefix}x.jpg"):
        texts.put(name, draw(1))
        texts.put(name.replace("jpg", "xml"), xml("one"))
    read(texts)
    data = b"".join(exporting.write(texts.sessions, texts.dataset, "voc"))
    with ZipFile(BytesIO(data)) as archive:
        assert sorted(archive.namelist()) == sorted(["x.xml", f"{texts.prefix}x.xml"])


def test_images_with_regions_count_as_labelled_also_those_without_text(texts: Place, draw: Draw) -> None:
    for number, name in enumerate(("read.jpg", "empty.jpg", "unknown.jpg")):
        texts.put(name, draw(number))
    texts.put("read.xml", xml("one"))
    texts.put("empty.xml", b"<annotation/>")
    read(texts)
    texts.check()
    with texts.sessions() as session:
        numbers = registry.summary(session, texts.dataset)
        unlabelled = registry.images(session, texts.dataset, condition="unlabelled")
    assert (numbers["labelled"], numbers["unlabelled"], numbers["usable"]) == (2, 1, 2)
    assert numbers["classes"] == []
    assert [image.key.removeprefix(texts.prefix) for image in unlabelled] == ["unknown.jpg"]
