"""What to label next and doubtful labels, by the network as it is before any training."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
from PIL import Image as PillowImage
from sqlalchemy import update

from backend.datasets import operations
from backend.datasets.tables import Image, Operation
from backend.db import transaction
from backend.label_studio.tables import LabelingProject
from backend.labels import choices, store
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore
from backend.workspaces.tables import StorageConnection
from plugins.contract import Label
from tests.datasets.conftest import Place
from workers.operations import execute

COLOURS = {"green": (40, 200, 40), "red": (200, 40, 40)}


class _Here(Runtime):
    """The runtime of a worker at this place."""

    def __init__(self, place: Place) -> None:
        super().__init__(Settings())
        vars(self).update(sessions=place.sessions, place=place)

    def store(self, connection: StorageConnection, *, read_timeout: float = 30.0) -> ObjectStore:
        """The only one here."""
        found: ObjectStore = vars(self)["place"].store
        return found


def _picture(colour: str, seed: int) -> bytes:
    """Blocks about this colour, alike no other picture."""
    random = np.random.default_rng(seed)
    blocks = np.clip(np.array(COLOURS[colour]) + random.integers(-40, 41, (6, 8, 3)), 0, 255)
    buffer = BytesIO()
    PillowImage.fromarray(blocks.astype(np.uint8)).resize((96, 72)).save(buffer, "PNG")
    return buffer.getvalue()


def _fill(place: Place, folders: Sequence[str], each: int) -> None:
    """So many pictures of a colour in each folder, whose name ends with the colour."""
    for number, folder in enumerate(folders):
        for place_ in range(each):
            name = f"{folder}/{place_}.png" if folder in COLOURS else f"{folder}{place_}.png"
            colour = next(colour for colour in COLOURS if colour in folder)
            place.put(name, _picture(colour, 100 * number + place_))
    place.sync()
    place.check()


def run(place: Place, kind: str, **parameters: int) -> Operation:
    with transaction(place.sessions) as session:
        row = operations.start(session, place.dataset, kind, parameters)
    execute(_Here(place), row.id)
    with place.sessions() as session:
        return session.get_one(Operation, row.id)


def _next(place: Place, **page: int) -> list[choices.Next]:
    with place.sessions() as session:
        return choices.following(session, Settings(), place.dataset, **{"limit": 100, **page})


def doubtful(place: Place) -> list[choices.Doubtful]:
    with place.sessions() as session:
        return choices.doubts(session, Settings(), place.dataset, limit=100)


def _label(place: Place, key: str, name: str) -> None:
    with transaction(place.sessions) as session:
        row = place.images()[key]
        store.apply(session, session.merge(row), Label(name), source="label_studio")


def test_without_a_label_or_a_model_typical_images_come_first(place: Place) -> None:
    _fill(place, ["some-green", "some-red"], 8)
    ended = run(place, "next", count=12)
    assert (ended.state, ended.result["ordered"], ended.result["unlabelled"]) == ("succeeded", 12, 16)
    assert ended.result["by"].startswith("efficientnet")
    found = _next(place)
    assert [each.position for each in found] == list(range(12))
    assert [each.reason for each in found].count("random") == 1 and found[0].reason == "typical"
    assert len({each.key for each in found}) == 12
    first_two = {"green" in each.key for each in found[:2]}
    assert first_two == {True, False}, "one of each kind"


def test_with_labels_the_uncertain_and_different_come_first_and_labelled_ones_leave(place: Place) -> None:
    _fill(place, ["green", "red", "some-green", "some-red"], 6)
    ended = run(place, "next", count=5)
    assert (ended.result["labelled"], ended.result["ordered"]) == (12, 5)
    before = _next(place)
    assert {each.reason for each in before} <= {"uncertain", "different", "random"}
    _label(place, before[0].key.removeprefix(place.prefix), "green")
    assert [each.key for each in _next(place)] == [each.key for each in before[1:]]
    assert _next(place, limit=1, after=1)[0].key == before[2].key


def test_an_empty_dataset_has_nothing_to_label_next(place: Place) -> None:
    ended = run(place, "next")
    assert (ended.state, ended.result["ordered"]) == ("succeeded", 0)


def test_an_order_that_label_studio_cannot_show_is_there_all_the_same(place: Place) -> None:
    _fill(place, ["some-green"], 3)
    with transaction(place.sessions) as session:
        session.add(LabelingProject(dataset_id=place.dataset.id, project=1))
    ended = run(place, "next")
    assert (ended.state, ended.result["ordered"]) == ("succeeded", 3)
    assert "no Label Studio is set up" in ended.result["not_in_label_studio"]
    assert len(_next(place)) == 3


def test_a_planted_wrong_label_is_doubted_until_it_is_changed(place: Place) -> None:
    _fill(place, ["green", "red"], 20)
    _label(place, "green/3.png", "red")
    ended = run(place, "doubts")
    assert (ended.state, ended.result["labelled"]) == ("succeeded", 40), ended.error
    (found,) = doubtful(place)
    assert (found.key, found.label, found.suggested) == (f"{place.prefix}green/3.png", "red", "green")
    assert 0.5 < found.confidence <= 1 and found.found_by == ended.result["by"] and found.url == ""
    _label(place, "green/3.png", "green")
    assert doubtful(place) == []


def test_doubts_need_two_classes(place: Place) -> None:
    _fill(place, ["green"], 3)
    ended = run(place, "doubts")
    assert (ended.state, ended.error_code) == ("failed", "not_enough_data")
    assert "label two of them" in ended.error


def test_images_that_cannot_be_used_or_were_skipped_are_not_asked_for(place: Place) -> None:
    _fill(place, ["some-green"], 3)
    place.put("broken.png", b"x")
    place.sync()
    place.check()
    with transaction(place.sessions) as session:
        session.execute(update(Image).where(Image.key.endswith("green1.png")).values(skipped=True))
    run(place, "next")
    names = {each.key.removeprefix(place.prefix) for each in _next(place)}
    assert names == {"some-green0.png", "some-green2.png"}
