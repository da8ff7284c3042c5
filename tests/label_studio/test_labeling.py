"""A dataset's labels on their way to the real Label Studio and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.datasets import links, operations
from backend.datasets.tables import Dataset, Finding, Image
from backend.db import now, transaction
from backend.label_studio import reconciling, refreshing, registry
from backend.label_studio.client import LabelStudio, stamp
from backend.label_studio.reconciling import reconcile
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels import files, store
from backend.labels.tables import LabelChange
from backend.runtime import Runtime
from tests.label_studio.publishing import claimed, item_of, one, progress_of, publish


def _image(session: Session, item: LabelingItem) -> Image:
    found: Image = one(session, select(Image).where(Image.id == item.image_id))
    return found


def _choice(name: str) -> list[dict[str, Any]]:
    return [
        {
            "id": "choice",
            "from_name": "choice",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": [name]},
        }
    ]


def test_a_label_goes_there_and_comes_back(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    result = publish(runtime, session, labelled)
    assert result["made"] == 6
    row = one(session, select(LabelingProject))
    assert result["url"].endswith(f"/projects/{row.project}/data")
    assert 'value="washer"' in row.config
    first = item_of(session, "parts/bolt/0.jpg")
    [there] = studio.items_of(row.project, [first.item])
    assert there["annotations"][0]["result"] == _choice("bolt")
    assert not there["annotations"][0]["ground_truth"]

    assert reconcile(runtime, labelled)["changed"] == 0  # what we have put there is nobody's opinion
    studio.update_annotation(there["annotations"][0]["id"], _choice("nut"))
    assert reconcile(runtime, labelled)["changed"] == 1
    image = _image(session, first)
    assert (image.label, image.label_source) == ("nut", "label_studio")
    change = one(session, select(LabelChange))
    assert change.before is not None and change.before["name"] == "bolt"
    assert change.author == studio.whoami()

    studio.delete_annotation(there["annotations"][0]["id"])
    assert reconcile(runtime, labelled)["changed"] == 1
    image = _image(session, first)
    assert (image.label, image.label_source) == ("bolt", "folder")


def test_a_second_run_makes_nothing_twice_even_if_the_database_forgot(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    session.delete(item_of(session, "parts/bolt/0.jpg"))
    session.commit()
    again = publish(runtime, session, labelled)
    assert (again["made"], again["found"]) == (0, 1)
    project = studio.project(one(session, select(LabelingProject.project)))
    assert project is not None and project.items == 6


def _make_twin(runtime: Runtime, studio: LabelStudio, labelled: Dataset, item: LabelingItem) -> int:
    """The item once more, as an import leaves it whose answer was lost; its number."""
    with runtime.sessions() as reading:
        image = reading.get_one(Image, item.image_id)
        project = reading.scalars(select(LabelingProject.project)).one()
    made = {
        "data": refreshing.data_of(runtime.settings, labelled, image, now() + links.LIFETIME),
        "meta": {refreshing.META: image.id, "etag": image.etag},
        "annotations": [{"id": image.id, "ground_truth": False, "result": _choice(str(image.label))}],
    }
    [number] = studio.import_items(project, [made])
    return number


def test_what_people_said_before_an_item_was_found_again_is_taken_over(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    project = one(session, select(LabelingProject.project))
    lost, other = item_of(session, "parts/bolt/0.jpg"), item_of(session, "parts/bolt/1.jpg")
    session.delete(lost)
    session.commit()
    for item in (lost.item, other.item):
        [there] = studio.items_of(project, [item])
        studio.update_annotation(there["annotations"][0]["id"], _choice("nut"))
    # What is read now is newer than what was said of the lost one by more than a reading looks back.
    assert reconcile(runtime, labelled)["changed"] == 1
    with transaction(runtime.sessions) as writing:
        writing.execute(update(LabelingProject).values(cursor=stamp(now() + timedelta(hours=1))))
    assert publish(runtime, session, labelled)["found"] == 1
    assert reconcile(runtime, labelled)["changed"] == 1
    assert _image(session, item_of(session, "parts/bolt/0.jpg")).label == "nut"


def test_of_twins_the_one_that_nobody_has_worked_on_goes(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    project = one(session, select(LabelingProject.project))
    untouched, touched, gone = (
        item_of(session, f"parts/{name}.jpg") for name in ("bolt/0", "bolt/1", "nut/0")
    )
    surplus, worked, left = (
        _make_twin(runtime, studio, labelled, item) for item in (untouched, touched, gone)
    )
    [there] = studio.items_of(project, [worked])
    studio.update_annotation(there["annotations"][0]["id"], _choice("nut"))
    studio.delete_items(project, [gone.item])
    again = publish(runtime, session, labelled)
    assert (again["made"], again["found"]) == (0, 0)
    assert item_of(session, "parts/bolt/0.jpg").item == untouched.item
    assert item_of(session, "parts/bolt/1.jpg").item == worked
    assert item_of(session, "parts/nut/0.jpg").item == left
    found = studio.items_of(project, [surplus, touched.item, untouched.item, worked, left])
    assert {int(item["id"]) for item in found} == {untouched.item, worked, left}
    reconcile(runtime, labelled)
    assert _image(session, item_of(session, "parts/bolt/1.jpg")).label == "nut"


def test_twins_that_people_have_both_worked_on_stay(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    project = one(session, select(LabelingProject.project))
    first = item_of(session, "parts/bolt/0.jpg")
    numbers = [first.item, _make_twin(runtime, studio, labelled, first)]
    for there in studio.items_of(project, numbers):
        studio.update_annotation(there["annotations"][0]["id"], _choice("nut"))
    publish(runtime, session, labelled)
    assert item_of(session, "parts/bolt/0.jpg").item == first.item
    assert len(studio.items_of(project, numbers)) == 2


def _shown(studio: LabelStudio, session: Session, *keys: str) -> list[list[str]]:
    """The classes that the items of these images have in Label Studio, an annotation each."""
    project = one(session, select(LabelingProject.project))
    items = [item_of(session, key).item for key in keys]
    there = {int(item["id"]): item["annotations"] for item in studio.items_of(project, items)}
    return [[one_["result"][0]["value"]["choices"][0] for one_ in there[item]] for item in items]


def test_a_label_that_a_file_changes_is_seen_in_label_studio_unless_a_person_has_said_otherwise(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    keys = [f"parts/{name}.jpg" for name in ("bolt/0", "bolt/1", "nut/2")]
    publish(runtime, session, labelled)
    assert _shown(studio, session, *keys) == [["bolt"], ["bolt"], []]
    [theirs] = studio.items_of(
        one(session, select(LabelingProject.project)), [item_of(session, keys[1]).item]
    )
    studio.update_annotation(theirs["annotations"][0]["id"], _choice("nut"))

    rows = "".join(f"{key},washer\n" for key in keys)
    files.import_file(runtime.sessions, labelled, "labels.csv", f"image,label\n{rows}".encode())
    assert publish(runtime, session, labelled)["relabelled"] == 2
    assert _shown(studio, session, *keys) == [["washer"], ["nut"], ["washer"]]
    assert reconcile(runtime, labelled)["changed"] == 1, "the person's, and nothing that we have put there"
    assert _image(session, item_of(session, keys[1])).label == "nut"
    assert publish(runtime, session, labelled)["relabelled"] == 0

    with transaction(runtime.sessions) as writing:
        for key in (keys[0], keys[2]):
            image = writing.scalars(select(Image).where(Image.key == key)).one()
            image.label_file = "parts/labels.csv"
            writing.execute(update(LabelChange).values(file="parts/labels.csv"))
            store.withdraw(writing, labelled, image)
    operation = claimed(session, labelled, "reconcile")
    counts = reconciling.run(runtime, operation, progress_of(runtime, operation))
    assert counts["relabelled"] == 2
    assert _shown(studio, session, *keys) == [["bolt"], ["nut"], ["nut"]], "as their folders say"


def test_an_imported_export_of_label_studio_is_seen_there(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    keys = [f"parts/{name}.jpg" for name in ("bolt/0", "nut/2", "nut/1")]
    publish(runtime, session, labelled)
    project = one(session, select(LabelingProject.project))
    [theirs] = studio.items_of(project, [item_of(session, keys[2]).item])
    studio.update_annotation(theirs["annotations"][0]["id"], _choice("bolt"))
    exported = [{"data": {"key": key}, "annotations": [{"result": _choice("washer")}]} for key in keys]
    files.import_file(runtime.sessions, labelled, "export.json", json.dumps(exported).encode())
    assert publish(runtime, session, labelled)["relabelled"] == 2
    assert _shown(studio, session, *keys) == [["washer"], ["washer"], ["bolt"]]
    reconcile(runtime, labelled)
    assert [_image(session, item_of(session, key)).label for key in keys] == ["washer", "washer", "bolt"]

    studio.delete_annotation(theirs["annotations"][0]["id"])
    assert publish(runtime, session, labelled)["relabelled"] == 0, (
        "what was taken back is not put there again"
    )


def test_a_change_of_a_label_that_comes_to_light_late_is_sent_all_the_same(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    reconcile(runtime, labelled)
    relabelled = []
    for label, compared in (("washer", None), ("nut", now())):
        files.import_file(
            runtime.sessions, labelled, "x.csv", f"image,label\nparts/bolt/0.jpg,{label}\n".encode()
        )
        with transaction(runtime.sessions) as writing:  # as if a change of a higher id had been seen before
            writing.execute(update(LabelingProject).values(changes=1_000_000, swept_at=compared))
        operation = claimed(session, labelled, "reconcile")
        counts = reconciling.run(runtime, operation, progress_of(runtime, operation))
        operations.finish(session, operation.id, operation.attempt, counts)
        session.commit()
        relabelled.append(counts["relabelled"])
    assert relabelled == [1, 0], "the daily comparison sends it"
    assert publish(runtime, session, labelled)["relabelled"] == 1
    assert _shown(studio, session, "parts/bolt/0.jpg") == [["nut"]]


def test_a_label_that_is_no_more_leaves_the_item_open(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    with transaction(runtime.sessions) as writing:
        image = writing.scalars(select(Image).where(Image.key == "parts/bolt/2.jpg")).one()
        store.apply(writing, image, None, source="csv")
    assert publish(runtime, session, labelled)["relabelled"] == 1
    assert _shown(studio, session, "parts/bolt/2.jpg") == [[]]
    assert reconcile(runtime, labelled)["changed"] == 0
    assert item_of(session, "parts/bolt/2.jpg").sent == ""


def test_a_skipped_item_stays_out_and_a_deleted_image_leaves(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    skipped, gone = item_of(session, "parts/nut/2.jpg"), item_of(session, "parts/nut/1.jpg")
    studio.ask(lambda: studio.sdk.annotations.create(skipped.item, result=[], was_cancelled=True))
    reconcile(runtime, labelled)
    assert _image(session, skipped).skipped
    _image(session, gone).state = "deleted"
    session.commit()
    assert publish(runtime, session, labelled)["archived"] == 1
    assert studio.items_of(one(session, select(LabelingProject.project)), [gone.item]) == []


def test_a_changed_image_and_a_link_near_its_end_get_a_new_address(
    runtime: Runtime,
    studio: LabelStudio,
    session: Session,
    labelled: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(runtime, session, labelled)
    changed, old = item_of(session, "parts/nut/0.jpg"), item_of(session, "parts/bolt/1.jpg")
    project = one(session, select(LabelingProject.project))
    before = {
        item["id"]: item["data"]["image"] for item in studio.items_of(project, [changed.item, old.item])
    }
    _image(session, changed).etag = "another"
    changed.predicted_by = "a model"
    old.link_expires_at = now() + timedelta(days=1)
    session.commit()
    # A day later: a link tells its end in seconds, and within one second the new one would be the old one.
    monkeypatch.setattr(refreshing, "now", lambda: now() + timedelta(days=1))
    assert publish(runtime, session, labelled)["renewed"] == 2
    after = {item["id"]: item["data"]["image"] for item in studio.items_of(project, [changed.item, old.item])}
    assert not set(before.values()) & set(after.values())
    assert item_of(session, "parts/nut/0.jpg").predicted_by == ""
    [there] = studio.items_of(project, [changed.item])
    assert there["annotations"][0]["result"] == _choice("nut")
    assert publish(runtime, session, labelled)["renewed"] == 0


def test_links_follow_the_api_to_another_address(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    project = one(session, select(LabelingProject.project))
    moved_to = replace(
        runtime.settings, api_url=links.base_url(runtime.settings), public_url="http://192.168.1.7:8700"
    )
    runtime.__dict__["settings"] = moved_to
    moved = publish(runtime, session, labelled)
    assert (moved["renewed"], moved["made"]) == (6, 0)
    [there] = studio.items_of(project, [item_of(session, "parts/bolt/0.jpg").item])
    assert there["data"]["image"].startswith("http://192.168.1.7:8700/images/")
    assert there["annotations"][0]["result"] == _choice("bolt")
    assert publish(runtime, session, labelled)["renewed"] == 0


def test_a_deleted_project_is_made_anew_and_loses_no_label(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    former = one(session, select(LabelingProject.project))
    studio.ask(lambda: studio.sdk.projects.delete(former))
    assert publish(runtime, session, labelled)["made"] == 6
    assert one(session, select(LabelingProject.project)) != former
    reconcile(runtime, labelled)
    assert registry.state(session, runtime.settings, labelled)["items"] == 6
    assert session.scalars(select(LabelChange)).all() == []
    session.commit()


def test_an_item_made_by_hand_is_found_once_and_not_looked_for_at_every_hint(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    reconcile(runtime, labelled)
    project = one(session, select(LabelingProject.project))
    studio.import_items(project, [{"data": {"image": "http://127.0.0.1:1/own.jpg", "key": "own"}}])
    assert reconcile(runtime, labelled)["foreign"] == 1
    compared = one(session, select(LabelingProject.swept_at))
    reconcile(runtime, labelled)
    assert one(session, select(LabelingProject.swept_at)) == compared
    found = one(session, select(Finding).where(Finding.code == "foreign_item"))
    assert found.message.startswith("1 items")

    studio.delete_items(project, [item_of(session, "parts/bolt/0.jpg").item])
    assert reconcile(runtime, labelled)["forgotten"] == 1
    reading = one(session, select(LabelingProject.swept_at))
    reconcile(runtime, labelled)
    assert one(session, select(LabelingProject.swept_at)) == reading > compared


def test_items_that_are_made_while_all_are_compared_are_not_forgotten(
    runtime: Runtime,
    studio: LabelStudio,
    session: Session,
    labelled: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    late = one(session, select(Image).where(Image.key == "parts/bolt/0.jpg"))
    late.usable = False
    session.commit()
    assert publish(runtime, session, labelled)["made"] == 5
    late.usable = True
    session.commit()
    listed = LabelStudio.items
    made: list[int] = []

    def slowly(self: LabelStudio, *arguments: Any, **options: Any) -> Iterator[list[dict[str, Any]]]:
        yield from listed(self, *arguments, **options)
        if options.get("whole") is False and not made:
            made.append(0)
            made[0] = publish(runtime, session, labelled)["made"]

    with monkeypatch.context() as patch:
        patch.setattr(LabelStudio, "items", slowly)
        assert reconcile(runtime, labelled)["forgotten"] == 0
    assert made == [1]
    assert item_of(session, "parts/bolt/0.jpg").item
    assert publish(runtime, session, labelled)["found"] == 0


def test_many_links_are_renewed_in_several_runs_between_which_labels_are_read(
    runtime: Runtime, session: Session, labelled: Dataset, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(runtime, session, labelled)
    monkeypatch.setitem(runtime.__dict__, "redis", redis)
    monkeypatch.setattr(reconciling, "_LINKS", 4)
    with transaction(runtime.sessions) as writing:
        writing.execute(update(LabelingItem).values(link_expires_at=None))
        project = writing.scalars(select(LabelingProject.id)).one()
    renewed, hints = [], []
    for _ in range(2):
        operation = claimed(session, labelled, "reconcile")
        counts = reconciling.run(runtime, operation, progress_of(runtime, operation))
        operations.finish(session, operation.id, operation.attempt, counts)
        session.commit()
        renewed.append(counts["renewed"])
        hints.append(registry.take_hints(redis))
    assert renewed == [4, 2]
    assert hints == [[project], []], "the first run asks for a second one soon"
