"""Text regions belong to an image of one size: of another one they are not trained on."""

from __future__ import annotations

import json

import pytest

from backend.datasets import registry, snapshot
from backend.datasets.split import VALIDATION
from backend.db import now, transaction
from backend.errors import NotEnoughData
from backend.labels import exporting, files, store
from plugins.contract import Example, Label, Region
from tests.datasets.conftest import Draw, Place
from tests.datasets.test_label_files import BOX, label, read, txt, xml

SIZE = "<size><width>64</width><height>48</height></size>"  # of what `draw` draws
OTHER = SIZE.replace("64", "640").replace("48", "480")
MISFIT = [("label_misfit", "x.jpg")]


def frozen(place: Place) -> list[Example]:
    with transaction(place.sessions) as session:
        dataset = session.merge(place.dataset)
        dataset.synced_at = dataset.checked_at = now()
        return snapshot.freeze(session, dataset, [], validation=VALIDATION).examples


def names(place: Place, condition: str) -> list[str]:
    with place.sessions() as session:
        found = registry.images(session, place.dataset, condition=condition)
        return [image.key.removeprefix(place.prefix) for image in found]


@pytest.fixture
def three(texts: Place, draw: Draw) -> Place:
    """Images with a label: `x` of an image of another size, `y` and `z` of their own."""
    for seed, name in enumerate("xyz"):
        texts.put(f"{name}.jpg", draw(seed))
        texts.put(f"{name}.xml", xml(name, size=OTHER if name == "x" else SIZE))
    read(texts)
    return texts


def test_a_label_about_an_image_of_another_size_is_not_trained_on(three: Place) -> None:
    three.check()
    assert three.findings("check") == MISFIT
    (message,) = three.messages("label_misfit")
    assert message == "its regions are about an image of 640 x 480 pixels, and it has 64 x 48"
    assert [one.key.removeprefix(three.prefix) for one in frozen(three)] == ["y.jpg", "z.jpg"]
    with three.sessions() as session:
        numbers = registry.summary(session, three.dataset)
    assert (numbers["labelled"], numbers["usable"]) == (3, 2)
    assert (names(three, "usable"), names(three, "kept_out")) == (["y.jpg", "z.jpg"], ["x.jpg"])


def test_the_next_sync_withdraws_what_its_own_file_may_not_say(three: Place) -> None:
    three.check()
    assert read(three)["labels_withdrawn"] == 1
    assert label(three, "x.jpg") is None
    assert len(three.messages("label_left_out")) == 1
    three.check()
    assert three.findings("check") == []
    three.put("x.xml", xml("x", size=SIZE))
    read(three)
    three.check()
    assert three.findings("check") == [] and len(frozen(three)) == 3


def test_too_few_images_of_their_labels_size_are_refused(three: Place) -> None:
    three.drop("y.jpg", "y.xml")
    read(three)
    three.check()
    with pytest.raises(NotEnoughData, match="2 usable images with transcribed text"):
        frozen(three)


@pytest.mark.parametrize("source", ["label file without sizes", "person"])
def test_an_image_that_is_put_there_again_at_another_size_waits_for_a_new_label(
    texts: Place, draw: Draw, source: str
) -> None:
    texts.put("x.jpg", draw(1))
    read(texts)
    if source == "person":
        texts.check()
        with transaction(texts.sessions) as session:
            image, said = session.merge(texts.images()["x.jpg"]), Label(regions=(Region(BOX, "one"),))
            store.apply(session, image, said, source="label_studio")
    else:
        texts.put("Label.txt", txt(x="one"))
        read(texts)
    texts.check()
    assert texts.findings("check") == []
    texts.put("x.jpg", draw(1, size=(128, 96)))
    for _ in range(2):  # to say the same again makes it no other image's
        read(texts)
        texts.check()
        assert texts.findings("check") == MISFIT
    with transaction(texts.sessions) as session:
        image, said = session.merge(texts.images()["x.jpg"]), Label(regions=(Region(BOX, "two"),))
        store.apply(session, image, said, source="label_studio")
    texts.check()
    assert texts.findings("check") == []


def test_an_image_without_text_has_none_at_any_size(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("x.xml", b"<annotation/>")
    read(texts)
    texts.check()
    texts.put("x.jpg", draw(1, size=(128, 96)))
    read(texts)
    texts.check()
    assert texts.findings("check") == []


def test_a_label_of_which_nothing_lies_inside_is_not_trained_as_no_text(texts: Place, draw: Draw) -> None:
    far = xml("far off").replace(b">4<", b">400<").replace(b">40<", b">440<")
    for seed, name in enumerate("xyz"):
        texts.put(f"{name}.jpg", draw(seed))
        texts.put(f"{name}.xml", far if name == "x" else xml(name))
    read(texts)
    texts.check()
    assert texts.findings("check") == MISFIT
    assert [len(one.regions) for one in frozen(texts)] == [1, 1]


def test_regions_that_reach_beyond_an_image_are_a_warning_once_its_size_is_known(
    texts: Place, draw: Draw
) -> None:
    texts.put("x.jpg", draw(1))
    points = [BOX, [[50, 5], [90, 5], [90, 20], [50, 20]]]
    said = [{"transcription": "one", "points": each} for each in points]
    texts.put("Label.txt", f"x.jpg\t{json.dumps(said)}\n".encode())
    read(texts)
    texts.check()
    assert texts.findings("check") == [("region_outside", "x.jpg")]
    assert texts.messages("region_outside") == ["1 of its 2 regions reach beyond the image"]
    read(texts)  # now that the size is known they are cut
    texts.check()
    assert texts.findings("check") == []


def test_a_renamed_image_keeps_the_size_that_its_label_is_about(texts: Place, draw: Draw) -> None:
    texts.put("w.jpg", draw(1))
    texts.sync()
    said = b"image,text,xmin,ymin,xmax,ymax,width,height\nw.jpg,one,4,5,40,20,640,480\n"
    files.import_file(texts.sessions, texts.dataset, "mine.csv", said)
    texts.drop("w.jpg")
    texts.put("x.jpg", draw(1))
    texts.sync()
    texts.check()
    assert texts.findings("check") == MISFIT


def test_a_label_of_another_size_is_exported_with_its_own_size(three: Place) -> None:
    three.check()
    written = b"".join(exporting.write(three.sessions, three.dataset, "coco"))
    sizes = {one["file_name"]: (one["width"], one["height"]) for one in json.loads(written)["images"]}
    assert sizes == {"x.jpg": (640, 480), "y.jpg": (64, 48), "z.jpg": (64, 48)}


def test_text_of_several_lines_in_one_region_is_a_warning(texts: Place, draw: Draw) -> None:
    texts.put("x.jpg", draw(1))
    texts.put("y.jpg", draw(2))
    texts.put("Label.txt", txt(x="Main Street 1\nLondon", y="one line \n"))
    read(texts)
    texts.check()
    assert texts.findings("check") == [("several_lines", "x.jpg")]
    assert texts.messages("several_lines") == ["the text of one region holds a line break"]
