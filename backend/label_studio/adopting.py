"""Items of ours in Label Studio that the database does not know, of a run that was killed between an import
and its commit, and twins: a second item of the same image, of an import whose answer was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.datasets import links
from backend.datasets.tables import Dataset, Image
from backend.db import now, transaction
from backend.label_studio.client import LabelStudio
from backend.label_studio.opinions import opinion_of
from backend.label_studio.refreshing import META
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels import store
from backend.runtime import Runtime

_BATCH = 100


def adopt(runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset) -> int:
    """Find the items of ours that the database does not know; how many. What people have said of them is
    taken over by the next reading, which begins anew.

    Of an item and its twin the one that nobody has worked on is deleted; both stay where people have worked
    on both. Raises what the client raises; what was done by then is kept.
    """
    found = 0
    for page in studio.items(row.project, whole=False):
        ours = {int(item["id"]): item for item in page if image_id_of(item) is not None}
        images = [image_id_of(item) for item in ours.values()]
        with runtime.sessions() as session:
            known = _known(session, dataset, images)
        if any(image not in known for image in images):
            found += _add(runtime, row, dataset, ours)
            with runtime.sessions() as session:
                known = _known(session, dataset, images)
        twins = [number for number, item in ours.items() if known.get(image_id_of(item), number) != number]
        for start in range(0, len(twins), _BATCH):
            _part(runtime, studio, row, dataset, {n: ours[n] for n in twins[start : start + _BATCH]})
    return found


def image_id_of(item: Mapping[str, Any]) -> int | None:
    """Our image's id in an item; None for one that was made by hand."""
    meta = item.get("meta")
    number = meta.get(META) if isinstance(meta, Mapping) else None
    return number if isinstance(number, int) else None


def has_work(item: Mapping[str, Any], sent_at: str = "") -> bool:
    """Whether a person has begun or said something in an item; `sent_at` as of `opinion_of`."""
    return bool(item.get("drafts")) or opinion_of(item.get("annotations") or [], sent_at) is not None


def _known(session: Session, dataset: Dataset, images: Sequence[int | None]) -> dict[int | None, int]:
    """The numbers of the items of these images that the database knows, by image."""
    return {image: item.item for image, item in _rows(session, dataset, images).items()}


def _rows(session: Session, dataset: Dataset, images: Sequence[int | None]) -> dict[int | None, LabelingItem]:
    chosen = select(LabelingItem).where(
        LabelingItem.dataset_id == dataset.id, LabelingItem.image_id.in_(images)
    )
    return {item.image_id: item for item in session.scalars(chosen)}


def _add(
    runtime: Runtime, row: LabelingProject, dataset: Dataset, ours: Mapping[int, Mapping[str, Any]]
) -> int:
    wanted = [image_id_of(item) for item in ours.values()]
    added = 0
    with transaction(runtime.sessions) as session:
        known = _known(session, dataset, wanted)
        chosen = select(Image).where(Image.dataset_id == dataset.id, Image.id.in_(wanted))
        images: dict[int | None, Image] = {image.id: image for image in session.scalars(chosen)}
        for number, item in ours.items():
            image = images.get(image_id_of(item))
            if image is None or image.id in known:
                continue
            known[image.id] = number
            session.add(
                LabelingItem(
                    dataset_id=dataset.id,
                    image_id=image.id,
                    item=number,
                    etag=str(item["meta"].get("etag", "")),
                    link_expires_at=now() + links.LIFETIME,
                    sent=store.fingerprint(store.label_of(image)),
                )
            )
            added += 1
        if added:
            _read_anew(session, row)
    return added


def _read_anew(session: Session, row: LabelingProject) -> None:
    """What was said in items that nobody knew is older than the newest change that was read."""
    session.execute(update(LabelingProject).where(LabelingProject.id == row.id).values(cursor=""))
    row.cursor = ""


def _part(
    runtime: Runtime,
    studio: LabelStudio,
    row: LabelingProject,
    dataset: Dataset,
    twins: Mapping[int, Mapping[str, Any]],
) -> None:
    """Leave one item of each image. It is written down before the other is deleted: killed in between, the
    next run finds the other as a twin on which nobody has worked.
    """
    with runtime.sessions() as session:
        known = _rows(session, dataset, [image_id_of(item) for item in twins.values()])
    numbers = [*twins, *(item.item for item in known.values())]
    there = {int(item["id"]): item for item in studio.items_of(row.project, numbers)}
    pairs = [(known.get(image_id_of(twin)), number) for number, twin in twins.items() if number in there]
    moved, surplus = _choose([(item, number) for item, number in pairs if item is not None], there)
    if moved:
        with transaction(runtime.sessions) as session:
            for each, number in moved.items():
                session.execute(
                    update(LabelingItem)
                    .where(LabelingItem.id == each)
                    .values(item=number, annotated="", predicted_by="", sent_at="", position=None)
                )
            _read_anew(session, row)
    studio.delete_items(row.project, surplus)


def _choose(
    pairs: Sequence[tuple[LabelingItem, int]], there: Mapping[int, Mapping[str, Any]]
) -> tuple[dict[int, int], list[int]]:
    """By the ids of rows the twins that take their place, and the items that go."""
    moved: dict[int, int] = {}
    surplus: list[int] = []
    for row, twin in pairs:
        item = moved.get(row.id, row.item)
        sent_at = "" if row.id in moved else row.sent_at
        if item in there and not has_work(there[twin]):
            surplus.append(twin)
        elif item not in there or not has_work(there[item], sent_at):
            moved[row.id] = twin
            surplus += [item] if item in there else []
    return moved, surplus
