"""A dataset's labels on their way to the real Label Studio and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets import operations
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory, now
from backend.label_studio import publishing, refreshing, registry
from backend.label_studio.client import LabelStudio, connect
from backend.label_studio.reconciling import reconcile
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels.tables import LabelChange
from backend.runtime import Runtime
from backend.sealing import new_key
from backend.settings import Settings
from tests.label_studio.real import RealLabelStudio


@pytest.fixture
def runtime(sessions: SessionFactory, label_studio: RealLabelStudio, tmp_path: Path) -> Runtime:
    settings = Settings(
        data_dir=tmp_path,
        secret_key=new_key(),
        label_studio_url=label_studio.url,
        label_studio_token=label_studio.token,
    )
    made = Runtime(settings)
    made.__dict__["sessions"] = sessions
    return made


@pytest.fixture
def studio(runtime: Runtime) -> Iterator[LabelStudio]:
    made = connect(runtime.settings)
    yield made
    made.close()


@pytest.fixture
def labelled(session: Session, dataset: Dataset) -> Dataset:
    """Every image is usable; the nuts of the last number have no label."""
    for image in session.scalars(select(Image).where(Image.dataset_id == dataset.id)):
        image.usable, image.checked_etag, image.width, image.height = True, image.etag, 64, 48
    image.label = image.label_source = None
    session.commit()
    return dataset


def _publish(runtime: Runtime, session: Session, dataset: Dataset) -> dict[str, Any]:
    started = operations.start(session, dataset, "label", {"labels": ["washer"]})
    session.commit()
    operation = operations.claim(session, started.id)
    session.commit()
    assert operation is not None
    result = publishing.run(runtime, operation, Progress(runtime.sessions, operation))
    operations.finish(session, operation.id, operation.attempt, result)
    session.commit()
    return result


def _item(session: Session, key: str) -> LabelingItem:
    found: LabelingItem = _one(
        session, select(LabelingItem).join(Image, Image.id == LabelingItem.image_id).where(Image.key == key)
    )
    return found


def _one(session: Session, query: Any) -> Any:
    """The one row, newly read; the lock of the test's session is given back at once."""
    found = session.scalars(query.execution_options(populate_existing=True)).one()
    session.commit()
    return found


def _image(session: Session, item: LabelingItem) -> Image:
    found: Image = _one(session, select(Image).where(Image.id == item.image_id))
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
    result = _publish(runtime, session, labelled)
    assert result["made"] == 6
    row = _one(session, select(LabelingProject))
    assert result["url"].endswith(f"/projects/{row.project}/data")
    assert 'value="washer"' in row.config
    first = _item(session, "parts/bolt/0.jpg")
    [there] = studio.items_of(row.project, [first.item])
    assert there["annotations"][0]["result"] == _choice("bolt")
    assert not there["annotations"][0]["ground_truth"]

    assert reconcile(runtime, labelled)["changed"] == 0  # what we have put there is nobody's opinion
    studio.update_annotation(there["annotations"][0]["id"], _choice("nut"))
    assert reconcile(runtime, labelled)["changed"] == 1
    image = _image(session, first)
    assert (image.label, image.label_source) == ("nut", "label_studio")
    change = _one(session, select(LabelChange))
    assert change.before is not None and change.before["name"] == "bolt"
    assert change.author == studio.whoami()

    studio.delete_annotation(there["annotations"][0]["id"])
    assert reconcile(runtime, labelled)["changed"] == 1
    image = _image(session, first)
    assert (image.label, image.label_source) == ("bolt", "folder")


def test_a_second_run_makes_nothing_twice_even_if_the_database_forgot(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    _publish(runtime, session, labelled)
    session.delete(_item(session, "parts/bolt/0.jpg"))
    session.commit()
    again = _publish(runtime, session, labelled)
    assert (again["made"], again["found"]) == (0, 1)
    project = studio.project(_one(session, select(LabelingProject.project)))
    assert project is not None and project.items == 6


def test_a_skipped_item_stays_out_and_a_deleted_image_leaves(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    _publish(runtime, session, labelled)
    skipped, gone = _item(session, "parts/nut/2.jpg"), _item(session, "parts/nut/1.jpg")
    studio.ask(lambda: studio.sdk.annotations.create(skipped.item, result=[], was_cancelled=True))
    reconcile(runtime, labelled)
    assert _image(session, skipped).skipped
    _image(session, gone).state = "deleted"
    session.commit()
    assert _publish(runtime, session, labelled)["archived"] == 1
    assert studio.items_of(_one(session, select(LabelingProject.project)), [gone.item]) == []


def test_a_changed_image_and_a_link_near_its_end_get_a_new_address(
    runtime: Runtime,
    studio: LabelStudio,
    session: Session,
    labelled: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _publish(runtime, session, labelled)
    changed, old = _item(session, "parts/nut/0.jpg"), _item(session, "parts/bolt/1.jpg")
    project = _one(session, select(LabelingProject.project))
    before = {
        item["id"]: item["data"]["image"] for item in studio.items_of(project, [changed.item, old.item])
    }
    _image(session, changed).etag = "another"
    changed.predicted_by = "a model"
    old.link_expires_at = now() + timedelta(days=1)
    session.commit()
    # A day later: a link tells its end in seconds, and within one second the new one would be the old one.
    monkeypatch.setattr(refreshing, "now", lambda: now() + timedelta(days=1))
    assert _publish(runtime, session, labelled)["renewed"] == 2
    after = {item["id"]: item["data"]["image"] for item in studio.items_of(project, [changed.item, old.item])}
    assert not set(before.values()) & set(after.values())
    assert _item(session, "parts/nut/0.jpg").predicted_by == ""
    [there] = studio.items_of(project, [changed.item])
    assert there["annotations"][0]["result"] == _choice("nut")
    assert _publish(runtime, session, labelled)["renewed"] == 0


def test_a_deleted_project_is_made_anew_and_loses_no_label(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    _publish(runtime, session, labelled)
    former = _one(session, select(LabelingProject.project))
    studio.ask(lambda: studio.sdk.projects.delete(former))
    assert _publish(runtime, session, labelled)["made"] == 6
    assert _one(session, select(LabelingProject.project)) != former
    reconcile(runtime, labelled)
    assert registry.state(session, runtime.settings, labelled)["items"] == 6
    assert session.scalars(select(LabelChange)).all() == []
    session.commit()
