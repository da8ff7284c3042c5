"""From Label Studio to the dataset: what people have said of the items, taken over as labels.

Only items that a person has touched since the last reading are asked for. Where the number of those that we
do not know has changed, or a day has passed, all ids are compared: items that were deleted there are
forgotten (the label stays; `datasets label` makes the item anew), those made by hand become a finding, and
labels that differ from what was sent there are sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from backend.datasets import findings
from backend.datasets.findings import Found, Source
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Finding, Image, Operation
from backend.datasets.types import has_classes
from backend.db import now, transaction
from backend.errors import AppError, NotFound
from backend.label_studio import registry
from backend.label_studio.adopting import image_id_of
from backend.label_studio.client import LabelStudio, connect, stamp
from backend.label_studio.following import follow
from backend.label_studio.opinions import Opinion, inside, of_ours, opinion_of
from backend.label_studio.publishing import labeling_of
from backend.label_studio.refreshing import refresh
from backend.label_studio.resending import is_due, resend
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels import store
from backend.labels.sources import MAX_LABEL, PEOPLE
from backend.runtime import Runtime
from plugins.contract import Label

SOURCE = PEOPLE
_FINDINGS: Source = "labeling"
_OVERLAP = timedelta(minutes=1)  # transactions of Label Studio that were still open at the last reading
_SWEEP_EVERY = timedelta(days=1)
_LINKS = 500  # links that one run renews, a request each, before it reads again what people have said


def run(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """One reading as an operation; then predictions that an outage kept back are made up for."""
    counts = reconcile(runtime, operation.dataset, progress)
    counts["renewed"] = refresh(runtime, operation.dataset, progress, most=_LINKS)
    if counts["renewed"] >= _LINKS:
        registry.hint_at(runtime.sessions, runtime.redis, operation.dataset_id)
    counts["relabelled"] = _resend(runtime, operation, progress)
    follow(runtime, operation.dataset_id)
    return counts


def reconcile(runtime: Runtime, dataset: Dataset, progress: Progress | None = None) -> dict[str, int]:
    """Bring the labels to what Label Studio says: counts of items `read`, labels `changed`, items `forgotten`
    and `foreign` ones, where all were compared. It may run twice at once, and be killed at any moment.

    Raises `NotFound` without a project, and what the client raises; that is kept in the project's row too.
    """
    with runtime.sessions() as session:
        row = registry.project_of(session, dataset.id)
    if row is None:
        raise NotFound(f"dataset {dataset.name!r} has no project in Label Studio; make it with "
                       f"`sightloop datasets label {dataset.name}`")  # fmt: skip
    try:
        counts = _read(runtime, row, dataset, progress)
    except AppError as error:
        _note(runtime, row, error=str(error))
        raise
    _note(runtime, row, error="", reconciled_at=now())
    return counts


def _resend(runtime: Runtime, operation: Operation, progress: Progress) -> int:
    dataset = operation.dataset
    with runtime.sessions() as session:
        row = registry.project_of(session, dataset.id)
        if row is None:
            return 0
        compared = operation.started_at and row.swept_at and row.swept_at >= operation.started_at
        if not compared and not is_due(session, row):
            return 0
    with closing(connect(runtime.settings)) as studio:
        return resend(runtime, studio, row, dataset, progress, whole=bool(compared))


def _note(runtime: Runtime, row: LabelingProject, **values: Any) -> None:
    with transaction(runtime.sessions) as session:
        session.execute(update(LabelingProject).where(LabelingProject.id == row.id).values(**values))


def _advance(runtime: Runtime, row: LabelingProject, newest: str) -> None:
    """Go on behind `newest`, unless somebody wants everything read anew meanwhile."""
    with transaction(runtime.sessions) as session:
        same = (LabelingProject.id == row.id) & (LabelingProject.cursor == row.cursor)
        session.execute(update(LabelingProject).where(same).values(cursor=newest))


def _read(
    runtime: Runtime, row: LabelingProject, dataset: Dataset, progress: Progress | None
) -> dict[str, int]:
    studio = connect(runtime.settings)
    try:
        remote = studio.project(row.project)
        if remote is None:
            raise NotFound(
                f"the project of dataset {dataset.name!r} was deleted in Label Studio; its labels are kept, "
                f"and `sightloop datasets label {dataset.name}` makes it anew"
            )
        users = studio.users()
        counts = {"read": 0, "changed": 0, "forgotten": 0, "foreign": 0}
        newest = row.cursor
        for page in studio.items(row.project, _touched_since(row.cursor)):
            newest = max([newest, *(stamp(item.get("updated_at")) for item in page)])
            counts["read"] += len(page)
            counts["changed"] += _take(runtime, dataset, page, users)
            if progress is not None:
                progress(counts["read"], max(remote.items, counts["read"] + 1))
        _advance(runtime, row, newest)
        with runtime.sessions() as session:
            known = select(func.count()).select_from(LabelingItem)
            number = session.scalar(known.where(LabelingItem.dataset_id == dataset.id))
        others = remote.items - (number or 0)
        if others != row.others or row.swept_at is None or now() - row.swept_at > _SWEEP_EVERY:
            counts |= _sweep(runtime, studio, row, dataset)
        return counts
    finally:
        studio.close()


def _touched_since(cursor: str) -> list[dict[str, Any]]:
    touched = {"filter": "filter:tasks:updated_by", "operator": "empty", "type": "List", "value": False}
    if not cursor:
        return [touched]
    since = stamp(datetime.fromisoformat(cursor) - _OVERLAP)
    changed = {"filter": "filter:tasks:updated_at", "operator": "greater", "type": "Datetime", "value": since}
    return [touched, changed]


def _take(
    runtime: Runtime, dataset: Dataset, page: Sequence[Mapping[str, Any]], users: Mapping[int, str]
) -> int:
    changed = 0
    with transaction(runtime.sessions) as session:
        rows = session.execute(
            select(LabelingItem, Image)
            .join(Image, Image.id == LabelingItem.image_id)
            .where(
                LabelingItem.dataset_id == dataset.id, LabelingItem.item.in_([item["id"] for item in page])
            )
        ).all()
        known = {item.item: (item, image) for item, image in rows}
        for remote in page:
            if int(remote["id"]) in known:
                item, image = known[int(remote["id"])]
                changed += _take_one(session, dataset, item, image, remote, users)
    return changed


def _take_one(
    session: Session,
    dataset: Dataset,
    item: LabelingItem,
    image: Image,
    remote: Mapping[str, Any],
    users: Mapping[int, str],
) -> bool:
    annotations = remote.get("annotations") or []
    opinion = opinion_of(annotations, item.sent_at)
    if opinion is None:
        withdrawn = item.annotated != "" or (item.sent != "" and not of_ours(annotations, item.sent_at))
        if not withdrawn or image.label_source != SOURCE or image.label_file:
            item.annotated = ""
            return False
        item.annotated, item.sent = "", ""
        said = store.said_by_others(session, dataset, image)
        return store.apply(session, image, said.label, source=said.source or SOURCE, file=said.file)
    if opinion.at == item.annotated:  # read before
        return False
    item.annotated = opinion.at
    author = users.get(opinion.user or 0, "")
    if opinion.skipped:
        label = store.label_of(image)
        return store.apply(session, image, label, source=SOURCE, author=author, skipped=True)
    label = _label(session, dataset, image, opinion)
    at = datetime.fromisoformat(opinion.at) if opinion.at else now()
    return store.apply(session, image, label, source=SOURCE, author=author, at=at)


def _label(session: Session, dataset: Dataset, image: Image, opinion: Opinion) -> Label | None:
    """What the annotation says; None where it chooses no class."""
    found: list[Found] = []
    said: Label = labeling_of(dataset).label_from_result(
        opinion.result, width=image.width or 0, height=image.height or 0
    )
    said, outside = inside(said, image.width or 0, image.height or 0)
    if outside:
        found.append(
            Found("region_outside", f"{outside} regions of its annotation reach beyond the image", image.key)
        )
    session.execute(
        delete(Finding).where(
            Finding.dataset_id == dataset.id, Finding.source == _FINDINGS, Finding.key == image.key
        )
    )
    findings.add(session, dataset, _FINDINGS, found)
    if not has_classes(dataset.type):
        return said
    return None if not said.name else Label(said.name[:MAX_LABEL])


def _sweep(runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset) -> dict[str, int]:
    """Compare all ids. What is made while they are listed is neither there nor gone."""
    chosen = select(LabelingItem).where(LabelingItem.dataset_id == dataset.id)
    with runtime.sessions() as session:
        before = set(session.scalars(chosen.with_only_columns(LabelingItem.id)))
    there: set[int] = set()
    foreign = 0
    for page in studio.items(row.project, whole=False):
        there.update(int(item["id"]) for item in page)
        foreign += sum(image_id_of(item) is None for item in page)
    with transaction(runtime.sessions) as session:
        items = session.scalars(chosen).all()
        gone = [item for item in items if item.id in before and item.item not in there]
        for item in gone:
            session.delete(item)
        others = len(there) - sum(item.item in there for item in items)
        found = [Found("foreign_item", f"{foreign:,} items of its project were not made by Sightloop")]
        findings.replace(session, dataset, _FINDINGS, found if foreign else [], ["foreign_item"])
        swept = update(LabelingProject).where(LabelingProject.id == row.id)
        session.execute(swept.values(swept_at=now(), others=others))
    return {"forgotten": len(gone), "foreign": foreign}
