"""The order of what to label next where people label: a rank in each item's data, and a tab ordered by it.

Label Studio's open edition knows no order for "Label All Tasks" but that of the items, yet a tab of its data
manager may be ordered by a field of the data, and "Label Tasks As Displayed" follows the tab. Ours shows what
nobody has labelled. Tabs of people are left as they are, and so is ours once it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from sqlalchemy import select, update

from backend.datasets import links
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image
from backend.db import now, transaction
from backend.label_studio.client import LabelStudio
from backend.label_studio.faults import NotThere
from backend.label_studio.refreshing import RANK, data_of
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels.tables import QueuedLabel
from backend.runtime import Runtime

MOST = 500  # items that have a rank: each is a request, and people ask for a new order long before
TITLE = "What to label next"
_WRITERS = 4
_BATCH = 40

Wanted = tuple[LabelingItem, Image, int | None]
"""An item, its image, and the place that it shall have in the order, if any."""


def show(
    runtime: Runtime, studio: LabelStudio, row: LabelingProject, dataset: Dataset, progress: Progress
) -> int:
    """Bring ranks and tab to the dataset's last order; how many ranks were written or taken away. Killed in
    between, the next run does the rest. Raises what the client raises.
    """
    changes = _changes(runtime, dataset)
    done = 0
    with ThreadPoolExecutor(_WRITERS, thread_name_prefix="rank") as pool:
        for batch in (changes[start : start + _BATCH] for start in range(0, len(changes), _BATCH)):
            list(pool.map(lambda wanted: _write(runtime, studio, dataset, wanted), batch))
            with transaction(runtime.sessions) as session:
                for item, _, rank in batch:
                    statement = update(LabelingItem).where(LabelingItem.id == item.id)
                    session.execute(statement.values(position=rank))
            done += len(batch)
            progress(done, len(changes))
    _ensure_tab(runtime, studio, row)
    return done


def _changes(runtime: Runtime, dataset: Dataset) -> Sequence[Wanted]:
    """The items whose rank is not what the order says now; those that come first are first."""
    queued = select(QueuedLabel.image_id, QueuedLabel.position).where(
        QueuedLabel.dataset_id == dataset.id, QueuedLabel.position < MOST
    )
    items = (
        select(LabelingItem, Image)
        .join(Image, Image.id == LabelingItem.image_id)
        .where(LabelingItem.dataset_id == dataset.id, LabelingItem.archived.is_(False))
    )
    with runtime.sessions() as session:
        ranks = {row.image_id: row.position for row in session.execute(queued)}
        ranked = session.execute(items.where(LabelingItem.position.is_not(None)))
        found = {item.id: (item, image) for item, image in ranked}
        ids = list(ranks)
        for start in range(0, len(ids), MOST):
            rows = session.execute(items.where(LabelingItem.image_id.in_(ids[start : start + MOST])))
            found |= {item.id: (item, image) for item, image in rows}
    wanted = ((item, image, ranks.get(image.id)) for item, image in found.values())
    changed = [(item, image, rank) for item, image, rank in wanted if rank != item.position]
    return sorted(changed, key=lambda one: (one[2] is None, one[2] or 0))


def _write(runtime: Runtime, studio: LabelStudio, dataset: Dataset, wanted: Wanted) -> None:
    item, image, rank = wanted
    expires = item.link_expires_at or now() + links.LIFETIME
    data = data_of(runtime.settings, dataset, image, expires, rank)
    with suppress(NotThere):  # somebody has deleted it; the daily comparison of all items notices
        studio.update_item(item.item, data=data)


def _ensure_tab(runtime: Runtime, studio: LabelStudio, row: LabelingProject) -> None:
    there = studio.views(row.project)
    if row.view in there:
        return
    if not there:  # Label Studio makes the tab of all items only where there is no other
        studio.create_view(row.project, {"title": "Default", **_LIST})
    row.view = studio.create_view(row.project, {"title": TITLE, **_LIST, **_OURS})
    with transaction(runtime.sessions) as session:
        statement = update(LabelingProject).where(LabelingProject.id == row.id)
        session.execute(statement.values(view=row.view))


# As Label Studio's own first tab.
_HIDDEN = [
    f"tasks:{name}"
    for name in (
        *("inner_id", "annotations_results", "annotations_ids", "predictions_score"),
        *("predictions_model_versions", "predictions_results", "file_upload", "storage_filename"),
        *("created_at", "updated_at", "updated_by", "avg_lead_time", "draft_exists"),
    )
]
_ALSO_HIDDEN = [
    f"tasks:{name}"
    for name in (
        *("data.key", f"data.{RANK}", "id", "completed_at", "cancelled_annotations", "total_predictions"),
        "annotators",
    )
]
_LIST: dict[str, Any] = {
    "type": "list",
    "target": "tasks",
    "hiddenColumns": {"explore": _HIDDEN, "labeling": _ALSO_HIDDEN + _HIDDEN},
}
_OURS: dict[str, Any] = {
    "ordering": [f"tasks:data.{RANK}"],
    "filters": {
        "conjunction": "and",
        "items": [
            {"filter": f"filter:tasks:data.{RANK}", "operator": "empty", "type": "String", "value": False},
            *(
                {"filter": f"filter:tasks:{name}", "operator": "equal", "type": "Number", "value": 0}
                for name in ("total_annotations", "cancelled_annotations")
            ),
        ],
    },
}
