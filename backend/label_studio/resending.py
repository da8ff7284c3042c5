"""Labels that files have changed, brought to the items that are in Label Studio already.

What people have said there is never touched, nor an item that somebody has begun: only our own annotation,
which nobody has changed, gets the new label, or goes with a label that is no more.

As a rule the history says which labels have changed. Now and then all are compared: where several write into
the history at once, a change may come to light after one that has a higher id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image
from backend.datasets.types import plugin_for
from backend.db import transaction
from backend.label_studio.client import LabelStudio, stamp
from backend.label_studio.opinions import of_ours, opinion_of
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels import store
from backend.labels.sources import PEOPLE
from backend.labels.tables import LabelChange
from backend.runtime import Runtime
from plugins import registry as plugins
from plugins.contract import Label, PluginError

_BATCH = 100
_LATER = "-"  # in `LabelingItem.sent`: it could not be sent, as of an image whose size is not known yet


@dataclass(frozen=True)
class _Stale:
    """An item whose annotation is not what the image's label is."""

    item: LabelingItem
    image: Image
    label: Label | None
    fingerprint: str


def is_due(session: Session, row: LabelingProject) -> bool:
    """Whether labels have changed since the last sending, or one that was put off can be sent now."""
    newest = select(func.max(LabelChange.id)).where(LabelChange.dataset_id == row.dataset_id)
    if (session.scalar(newest) or 0) > row.changes:
        return True
    return session.scalar(_items(row.dataset_id, whole=False).limit(1)) is not None


def resend(
    runtime: Runtime,
    studio: LabelStudio,
    row: LabelingProject,
    dataset: Dataset,
    progress: Progress,
    *,
    whole: bool = False,
) -> int:
    """Bring the annotations to the labels as they are, with `whole` of all items; how many were changed.
    Killed in between, the next run does the rest. Raises what the client raises.
    """
    done = last = 0
    while not progress.should_stop() and (page := _page(runtime, dataset, last, whole)):
        done += _send(runtime, studio, row, dataset, [item.image_id for item in page])
        last = page[-1].id
        progress(done, done + 1)
    while not progress.should_stop():
        images, newest = _changed(runtime, row, dataset)
        if not images:
            break
        done += _send(runtime, studio, row, dataset, images)
        with transaction(runtime.sessions) as session:
            statement = update(LabelingProject).where(LabelingProject.id == row.id)
            session.execute(statement.values(changes=newest))
        row.changes = newest
        progress(done, done + 1)
    return done


def _changed(runtime: Runtime, row: LabelingProject, dataset: Dataset) -> tuple[list[int], int]:
    """The images of the next changes of labels, and the id of the last of these."""
    changes = (
        select(LabelChange.id, LabelChange.image_id)
        .where(LabelChange.dataset_id == dataset.id, LabelChange.id > row.changes)
        .order_by(LabelChange.id)
        .limit(_BATCH)
    )
    with runtime.sessions() as session:
        found = session.execute(changes).all()
    return list(dict.fromkeys(each.image_id for each in found)), found[-1].id if found else row.changes


def _items(dataset_id: int, *, whole: bool) -> Select[LabelingItem]:
    """Those whose label was put off and can be sent now, or the `whole` of them."""
    items = select(LabelingItem).where(LabelingItem.dataset_id == dataset_id).order_by(LabelingItem.id)
    if whole:
        return items
    sized = items.join(Image, Image.id == LabelingItem.image_id).where(Image.width > 0)
    return sized.where(LabelingItem.sent == _LATER)


def _page(runtime: Runtime, dataset: Dataset, after: int, whole: bool) -> Sequence[LabelingItem]:
    with runtime.sessions() as session:
        page = _items(dataset.id, whole=whole).where(LabelingItem.id > after)
        return session.scalars(page.limit(_BATCH)).all()


def _send(
    runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset, images: Sequence[int]
) -> int:
    stale = _stale(runtime, images)
    there = {int(one["id"]): one for one in studio.items_of(row.project, list(stale))}
    done = 0
    for number, each in stale.items():
        remote = there.get(number)
        if remote is None or remote.get("drafts") or opinion_of(remote["annotations"], each.item.sent_at):
            continue
        sent, sent_at = _bring(studio, dataset, each, remote)
        done += sent != _LATER
        with transaction(runtime.sessions) as session:
            statement = update(LabelingItem).where(LabelingItem.id == each.item.id)
            session.execute(statement.values(sent=sent, sent_at=sent_at))
    return done


def _stale(runtime: Runtime, images: Sequence[int]) -> dict[int, _Stale]:
    """The items of these images, by number, that hold another label than the one that a file says now."""
    found: dict[int, _Stale] = {}
    with runtime.sessions() as session:
        rows = session.execute(
            select(LabelingItem, Image)
            .join(Image, Image.id == LabelingItem.image_id)
            .where(Image.id.in_(images), Image.state == "present", LabelingItem.archived.is_(False))
        )
        for item, image in rows:
            label = store.label_of(image)
            fingerprint = store.fingerprint(label)
            # Where nobody has said anything there, it is of an export of Label Studio that was imported.
            by_people = image.label_source == PEOPLE and image.label_file is None and item.annotated != ""
            if fingerprint != item.sent and not by_people:
                found[item.item] = _Stale(item, image, label, fingerprint)
    return found


def _bring(
    studio: LabelStudio, dataset: Dataset, stale: _Stale, remote: Mapping[str, Any]
) -> tuple[str, str]:
    """Write the annotation; what `sent` and `sent_at` of the item are then."""
    ours = of_ours(remote["annotations"], stale.item.sent_at)
    if stale.label is None:
        for entry in ours:
            studio.delete_annotation(entry["id"])
        return "", ""
    image, labeling = stale.image, plugins.load(plugin_for(dataset.type).labeling)
    width, height = image.regions_size
    try:
        result = labeling.result_from_label(stale.label, width=width, height=height)
    except PluginError:
        return _LATER, stale.item.sent_at
    if ours:
        made = studio.update_annotation(ours[0]["id"], result)
    else:
        made = studio.create_annotation(stale.item.item, result, image.id)
    return stale.fingerprint, stamp(made["updated_at"])
