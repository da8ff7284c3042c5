"""The order of what to label next, in the real Label Studio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image
from backend.label_studio import ordering, registry
from backend.label_studio.client import LabelStudio
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels import choices
from backend.labels.tables import QueuedLabel
from backend.runtime import Runtime
from tests.label_studio.publishing import claimed, item_of, one, publish
from tests.label_studio.real import RealLabelStudio


def _queue(session: Session, dataset: Dataset, names: Sequence[str]) -> None:
    """The order of what to label next, as the operation writes it; the images have no label."""
    session.execute(delete(QueuedLabel))
    for position, name in enumerate(names):
        image = session.scalars(select(Image).where(Image.key == f"parts/{name}.jpg")).one()
        image.label = image.label_source = None
        session.add(
            QueuedLabel(
                dataset_id=dataset.id, image_id=image.id, position=position, score=1.0, reason="typical"
            )
        )
    session.commit()


def _shown(label_studio: RealLabelStudio, row: LabelingProject) -> list[tuple[str, str]]:
    """What the tab lists: key and rank."""
    with label_studio.client() as client:
        found = client.get("/api/tasks", params={"project": row.project, "view": row.view or 0})
    return [(item["data"]["key"], item["data"]["next"]) for item in found.json()["tasks"]]


def _next_item(label_studio: RealLabelStudio, row: LabelingProject) -> Any:
    """The item that the button "Label Tasks As Displayed" opens in the tab."""
    with label_studio.client() as client:
        tab = client.get(f"/api/dm/views/{row.view}").raise_for_status().json()["data"]
        told = {name: tab[name] for name in ("filters", "ordering")}
        asked: dict[str, str | int] = {"id": "next_task", "project": row.project}
        return client.post("/api/dm/actions", params=asked, json=told).raise_for_status().json()["id"]


def test_people_label_in_the_order_of_what_to_label_next(
    runtime: Runtime,
    studio: LabelStudio,
    session: Session,
    labelled: Dataset,
    label_studio: RealLabelStudio,
) -> None:
    _queue(session, labelled, ["nut/1", "bolt/0", "nut/0"])
    assert publish(runtime, session, labelled)["ranked"] == 3
    row = one(session, select(LabelingProject))
    ranked = [("parts/nut/1.jpg", "00001"), ("parts/bolt/0.jpg", "00002"), ("parts/nut/0.jpg", "00003")]
    assert _shown(label_studio, row) == ranked
    first = item_of(session, "parts/nut/1.jpg").item
    assert _next_item(label_studio, row) == first
    listed = choices.following(session, runtime.settings, labelled, limit=10)
    session.commit()
    assert listed[0].url == f"{registry.next_url_of(runtime.settings, row)}&task={first}"

    choice = {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": ["nut"]}}
    studio.ask(lambda: studio.sdk.annotations.create(first, result=[choice]))
    assert _shown(label_studio, row) == ranked[1:], "what is labelled leaves the tab"

    _queue(session, labelled, ["nut/0", "bolt/0"])
    operation = claimed(session, labelled, "next")
    assert ordering.show(runtime, studio, row, labelled, Progress(runtime.sessions, operation)) == 2
    assert _shown(label_studio, row) == [("parts/nut/0.jpg", "00001"), ("parts/bolt/0.jpg", "00002")]
    assert one(session, select(LabelingProject)).view == row.view
    assert ordering.show(runtime, studio, row, labelled, Progress(runtime.sessions, operation)) == 0


def test_the_tabs_that_people_made_stay_and_ours_comes_back(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    publish(runtime, session, labelled)
    row = one(session, select(LabelingProject))
    assert studio.views(row.project) == [], "without an order there is no tab"
    theirs = studio.create_view(row.project, {"title": "mine"})
    _queue(session, labelled, ["nut/1"])
    publish(runtime, session, labelled)
    ours = one(session, select(LabelingProject)).view
    assert sorted(studio.views(row.project)) == [theirs, ours]
    studio.ask(lambda: studio.sdk.views.delete(str(ours)))
    publish(runtime, session, labelled)
    again = one(session, select(LabelingProject)).view
    assert sorted(studio.views(row.project)) == [theirs, again] and again != ours


def test_a_new_address_of_an_image_keeps_its_rank(
    runtime: Runtime, studio: LabelStudio, session: Session, labelled: Dataset
) -> None:
    _queue(session, labelled, ["bolt/1"])
    publish(runtime, session, labelled)
    row, item = one(session, select(LabelingProject)), item_of(session, "parts/bolt/1.jpg")
    image: Image = one(session, select(Image).where(Image.id == item.image_id))
    image.etag = "another"
    session.commit()
    assert publish(runtime, session, labelled)["renewed"] == 1
    [there] = studio.items_of(row.project, [item.item])
    assert there["data"]["next"] == "00001"
    assert one(session, select(LabelingItem).where(LabelingItem.position.is_not(None))).position == 0
