"""The lists of what to label next and of doubtful labels, as far as they still hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.label_studio import registry
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels.store import label_of
from backend.labels.tables import LabelSuspect, QueuedLabel
from backend.settings import Settings
from plugins.contract import Region

_PAGE = 200


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
    """A label, or the text of a `region` (empty for a whole image), what a network says instead, and how sure
    that is (0..1).
    """

    id: int
    key: str
    region: str
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
    """The doubtful labels and texts, the worst first, without those that were changed since."""
    query = _with_item(select(LabelSuspect, Image, LabelingItem.item), LabelSuspect).where(
        LabelSuspect.dataset_id == dataset.id, LabelSuspect.id > after, Image.state == "present"
    )
    project = registry.project_of(session, dataset.id)
    with session.execute(query.order_by(LabelSuspect.id).execution_options(yield_per=_PAGE)) as rows:
        standing = ((row, image, item) for row, image, item in rows if _says(image, row))
        return [
            Doubtful(
                row.id,
                image.key,
                row.region,
                row.given,
                row.suggested,
                row.confidence,
                row.found_by,
                _url(settings, project, item),
            )
            for row, image, item in islice(standing, limit)
        ]


def named(regions: Sequence[Region]) -> dict[str, Region]:
    """The regions by their ids, those without one, or with that of another, by their numbers from 1."""
    found: dict[str, Region] = {}
    for number, region in enumerate(regions, 1):
        name = region.id if region.id and region.id not in found else f"#{number}"
        found[name] = region
    return found


def _says(image: Image, suspect: LabelSuspect) -> bool:
    """Whether the label is still the one that was doubted."""
    if not suspect.region:
        return image.label == suspect.given
    label = label_of(image)
    region = named(label.regions).get(suspect.region) if label is not None else None
    return region is not None and (region.text or "")[: len(suspect.given)] == suspect.given


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
