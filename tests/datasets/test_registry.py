"""Datasets by name: made, found, listed, deleted, and their numbers."""

from __future__ import annotations

import pytest

from backend.datasets import registry
from backend.datasets.registry import DatasetRequest
from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory, transaction
from backend.errors import (
    AppError,
    BucketMissing,
    InUse,
    InvalidRequest,
    NameTaken,
    NotFound,
    StorageUnreachable,
    WrongState,
)
from backend.labels import store as labels
from backend.storage import ObjectStore, StoreAddress
from backend.training.tables import TrainingTask
from backend.workspaces.tables import StorageConnection, Workspace
from plugins.contract import Label
from tests.datasets.conftest import BUCKET, Draw, Place

TYPES = ("classification", "ocr")


def _create(
    sessions: SessionFactory,
    connection: StorageConnection,
    store: ObjectStore,
    request: DatasetRequest,
) -> Dataset:
    return registry.create(sessions, request, connection, store, TYPES)


def test_a_dataset_is_made_and_found(
    sessions: SessionFactory, connection: StorageConnection, store: ObjectStore
) -> None:
    request = DatasetRequest("bolts", "classification", f"s3://{BUCKET}/a b/c", "Bolts of line 2")
    _create(sessions, connection, store, request)
    with sessions() as session:
        found = registry.get(session, connection.workspace_id, "bolts")
    assert (found.bucket, found.prefix, found.description) == (BUCKET, "a b/c/", "Bolts of line 2")
    assert found.connection.name == "default"


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (DatasetRequest("a b", "ocr", f"s3://{BUCKET}/"), InvalidRequest, "30 characters"),
        (DatasetRequest("a", "audio", f"s3://{BUCKET}/"), InvalidRequest, "classification, ocr"),
        (DatasetRequest("a", "ocr", f"s3://{BUCKET}/", "x" * 1001), InvalidRequest, "1000"),
        (DatasetRequest("a", "ocr", BUCKET), InvalidRequest, "s3://BUCKET/PREFIX"),
        (DatasetRequest("a", "ocr", "s3://no-such-bucket/x"), BucketMissing, "sightloop upload"),
    ],
)
def test_what_cannot_be_a_dataset_is_refused(
    sessions: SessionFactory,
    connection: StorageConnection,
    store: ObjectStore,
    request_: DatasetRequest,
    error: type[AppError],
    says: str,
) -> None:
    with pytest.raises(error, match=says):
        _create(sessions, connection, store, request_)
    with sessions() as session:
        assert registry.list_(session, connection.workspace_id) == []


def test_a_name_is_taken_in_its_workspace_only(
    sessions: SessionFactory, connection: StorageConnection, store: ObjectStore
) -> None:
    request = DatasetRequest("bolts", "ocr", f"s3://{BUCKET}")
    _create(sessions, connection, store, request)
    with pytest.raises(NameTaken):
        _create(sessions, connection, store, request)
    with transaction(sessions) as session:
        other = Workspace(name="other")
        session.add(other)
        session.flush()
        elsewhere = StorageConnection(workspace_id=other.id, name="default", endpoint="http://store")
        session.add(elsewhere)
    registry.create(sessions, request, elsewhere, store, TYPES)


def test_a_store_that_is_down_makes_no_dataset(
    sessions: SessionFactory, connection: StorageConnection
) -> None:
    store = ObjectStore(StoreAddress("http://127.0.0.1:1", "a", "s" * 8))
    with pytest.raises(StorageUnreachable):
        _create(sessions, connection, store, DatasetRequest("a", "ocr", f"s3://{BUCKET}"))


def test_datasets_are_listed_by_pages(
    sessions: SessionFactory, connection: StorageConnection, store: ObjectStore
) -> None:
    for name in ("c", "a", "b"):
        _create(sessions, connection, store, DatasetRequest(name, "ocr", f"s3://{BUCKET}"))
    with sessions() as session:
        first = registry.list_(session, connection.workspace_id, limit=2)
        second = registry.list_(session, connection.workspace_id, limit=2, after=first[-1].name)
        assert registry.list_(session, connection.workspace_id + 1) == []
    assert [[row.name for row in page] for page in (first, second)] == [["a", "b"], ["c"]]


def test_a_stranger_finds_nothing(place: Place) -> None:
    with place.sessions() as session:
        with pytest.raises(NotFound):
            registry.get(session, place.dataset.workspace_id + 1, "parts")
        with pytest.raises(NotFound):
            registry.get(session, place.dataset.workspace_id, "Parts")


def test_deleting_forgets_the_index_and_leaves_the_bucket(place: Place) -> None:
    place.put("cat/1.jpg")
    place.sync()
    with transaction(place.sessions) as session:
        registry.delete(session, registry.get(session, place.dataset.workspace_id, "parts"))
        assert session.query(Image).count() == 0
    assert len(list(place.store.list(BUCKET, place.prefix))) == 1


def test_a_dataset_at_work_is_not_deleted(place: Place) -> None:
    place.operation("check")
    with pytest.raises(WrongState, match="check"), transaction(place.sessions) as session:
        registry.delete(session, registry.get(session, place.dataset.workspace_id, "parts"))


def test_a_dataset_that_was_trained_on_is_not_deleted(place: Place) -> None:
    with transaction(place.sessions) as session:
        session.add(
            TrainingTask(
                workspace_id=place.dataset.workspace_id,
                dataset_id=place.dataset.id,
                name="first",
                algorithm="classification-high-performance",
                parameters={},
                labels=["a"],
                queue="train",
                time_budget=60,
            )
        )
    with pytest.raises(InUse, match="parts"), transaction(place.sessions) as session:
        registry.delete(session, registry.get(session, place.dataset.workspace_id, "parts"))


def test_the_numbers_of_a_dataset(place: Place, draw: Draw) -> None:
    for number in range(3):
        place.put(f"cat/{number}.jpg", draw(number))
    place.put("dog/1.jpg", draw(10))
    place.put("dog/2.jpg", b"no image")
    place.put("3.jpg", draw(12))
    place.put("dog/gone.jpg", draw(13))
    place.sync()
    place.drop("dog/gone.jpg")
    place.sync()
    with place.sessions() as session:
        before = registry.summary(session, place.dataset)
    assert (before["images"], before["labelled"], before["unlabelled"], before["usable"]) == (6, 5, 1, 0)
    assert (before["unchecked"], before["deleted"]) == (6, 1)
    place.check()
    with place.sessions() as session:
        after = registry.summary(session, registry.get(session, place.dataset.workspace_id, "parts"))
    assert (after["usable"], after["unchecked"]) == (4, 0)
    assert after["classes"] == [
        {"label": "cat", "images": 3, "usable": 3},
        {"label": "dog", "images": 2, "usable": 1},
    ]
    counts = {entry["code"]: (entry["severity"], entry["count"]) for entry in after["findings"]}
    assert counts == {
        "format_not_supported": ("error", 1),
        "few_images": ("warning", 2),
        "unlabelled": ("note", 1),
    }
    assert [entry["severity"] for entry in after["findings"]] == ["error", "warning", "note"]
    assert after["synced_at"] is not None
    assert after["checked_at"] is not None


def test_skipped_images_are_not_usable(place: Place, draw: Draw) -> None:
    for number, name in enumerate(("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")):
        place.put(name, draw(number))
    place.sync()
    with transaction(place.sessions) as session:
        for name in ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg"):
            image = session.merge(place.images()[name])
            labels.apply(session, image, Label(image.label), source="label_studio", skipped=True)
    place.check()
    with place.sessions() as session:
        numbers = registry.summary(session, place.dataset)
        usable = registry.images(session, place.dataset, condition="usable")
    assert (numbers["labelled"], numbers["usable"]) == (4, 1)
    assert numbers["classes"] == [
        {"label": "cat", "images": 2, "usable": 1},
        {"label": "dog", "images": 2, "usable": 0},
    ]
    assert [image.key.removeprefix(place.prefix) for image in usable] == ["cat/2.jpg"]
    assert place.messages("single_class") == ["every usable image is labelled 'cat'"]


def test_images_are_listed_by_pages_and_filters(place: Place) -> None:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "1.jpg"):
        place.put(name)
    place.sync()
    with place.sessions() as session:

        def names(**filters: object) -> list[str]:
            rows = registry.images(session, place.dataset, **filters)  # type: ignore[arg-type]
            return [row.key.removeprefix(place.prefix) for row in rows]

        assert names() == ["1.jpg", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg"]
        assert names(limit=2) == ["1.jpg", "cat/1.jpg"]
        assert names(limit=2, after=place.prefix + "cat/1.jpg") == ["cat/2.jpg", "dog/1.jpg"]
        assert names(label="cat") == ["cat/1.jpg", "cat/2.jpg"]
        assert names(condition="unlabelled") == ["1.jpg"]
        assert names(condition="deleted") == []
        first = registry.images(session, place.dataset, limit=1)[0]
        assert registry.image(session, place.dataset, first.id) is first
        with pytest.raises(NotFound):
            registry.image(session, place.dataset, 10_000)


def test_findings_are_listed_by_pages_and_filters(place: Place) -> None:
    for name in ("a.txt", "b.txt", "c.gif"):
        place.put(name)
    place.sync()
    with place.sessions() as session:
        rows = registry.list_findings(session, place.dataset, limit=2)
        rest = registry.list_findings(session, place.dataset, after=rows[-1].id)
        assert len(rows) + len(rest) == 4
        assert len(registry.list_findings(session, place.dataset, code="not_an_image")) == 2
        assert len(registry.list_findings(session, place.dataset, severity="error")) == 2
