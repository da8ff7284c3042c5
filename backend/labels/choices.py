"""The lists of what to label next and of doubtful labels, as far as they still hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.label_studio import registry
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels.tables import LabelSuspect, QueuedLabel
from backend.settings import Settings


@dataclass(frozen=True)
class Next:
    """An image to label: `url` opens it in Label Studio, empty where it has no item there."""

    position: int
    key: str
    reason: str
    score: float
    url: str


@dataclass(frozen=True)
class Doubtful:
    """A label and what a network says instead, and how sure that is (0..1)."""

    id: int
    key: str
    label: str
    suggested: str
    confidence: float
    found_by: str
    url: str


def following(
    session: Session, settings: Settings, dataset: Dataset, *, limit: int, after: int = -1
) -> list[Next]:
    """The images to label, the best first, without those that have a label by now or were skipped."""
    query = _with_item(select(QueuedLabel, Image.key, LabelingItem.item), QueuedLabel).where(
        QueuedLabel.dataset_id == dataset.id,
        QueuedLabel.position > after,
        Image.state == "present",
        Image.skipped.is_(False),
        Image.label.is_(None),
        Image.regions.is_(None),
    )
    project = registry.project_of(session, dataset.id)
    return [
        Next(row.position, key, row.reason, row.score, _url(settings, project, item, in_order=True))
        for row, key, item in session.execute(query.order_by(QueuedLabel.position).limit(limit))
    ]


def doubts(
    session: Session, settings: Settings, dataset: Dataset, *, limit: int, after: int = 0
) -> list[Doubtful]:
    """The doubtful labels, the worst first, without those that were changed since."""
    query = _with_item(select(LabelSuspect, Image.key, LabelingItem.item), LabelSuspect).where(
        LabelSuspect.dataset_id == dataset.id,
        LabelSuspect.id > after,
        Image.state == "present",
        Image.label == LabelSuspect.given,
    )
    project = registry.project_of(session, dataset.id)
    return [
        Doubtful(
            row.id,
            key,
            row.given,
            row.suggested,
            row.confidence,
            row.found_by,
            _url(settings, project, item),
        )
        for row, key, item in session.execute(query.order_by(LabelSuspect.id).limit(limit))
    ]


def _with_item(query: Any, table: type[QueuedLabel] | type[LabelSuspect]) -> Any:
    return query.join(Image, Image.id == table.image_id).outerjoin(
        LabelingItem, LabelingItem.image_id == Image.id
    )


def _url(
    settings: Settings, project: LabelingProject | None, item: int | None, in_order: bool = False
) -> str:
    """The item, beside the others of the tab of what to label next if it is there."""
    if project is None or item is None:
        return ""
    tab = registry.next_url_of(settings, project) if in_order else ""
    return f"{tab}&task={item}" if tab else f"{registry.url_of(settings, project)}?task={item}"
