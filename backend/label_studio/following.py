"""Pre-labeling follows the dataset's current model: after a training, after new items, after a failure."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from backend.datasets import operations
from backend.datasets.tables import Dataset, Image, Operation
from backend.db import now, transaction
from backend.errors import WrongState
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.models import registry as models
from backend.models.versions import version_of
from backend.queue import DATA, RUN_OPERATION, enqueue
from backend.runtime import Runtime

KIND = "prelabel"
_AFTER_FAILURE = timedelta(minutes=10)


def follow(runtime: Runtime, dataset_id: int) -> Operation | None:
    """Start pre-labeling where items lack a prediction of the current model, and answer its operation.

    None where there is nothing to do: no model, no project in Label Studio, every item has one, a run is
    under way, the user has stopped the one of this model, or the last one failed a moment ago. Cheap to ask:
    Label Studio is not spoken to.

    Raises `QueueUnavailable`; the operation then waits for the reaper to queue it.
    """
    with transaction(runtime.sessions) as session:
        dataset = session.get(Dataset, dataset_id)
        model = models.current(session, dataset_id)
        if dataset is None or model is None or not _has_project(session, dataset_id):
            return None
        version = version_of(model)
        if _rests(session, dataset_id, version) or not _is_due(session, dataset_id, version):
            return None
        try:
            operation = operations.start(session, dataset, KIND, {"version": version})
        except WrongState:
            return None
    enqueue(runtime.redis, DATA, RUN_OPERATION, operation.id, attempt=operation.attempt)
    return operation


def open_items(dataset_id: int) -> Select[LabelingItem, Image]:
    """(item, image) of every item in Label Studio whose image has no label and was not skipped."""
    return (
        select(LabelingItem, Image)
        .join(Image, Image.id == LabelingItem.image_id)
        .where(
            LabelingItem.dataset_id == dataset_id,
            LabelingItem.archived.is_(False),
            Image.state == "present",
            Image.label.is_(None),
            Image.regions.is_(None),
            Image.skipped.is_(False),
        )
    )


def _has_project(session: Session, dataset_id: int) -> bool:
    found = select(LabelingProject.id).where(LabelingProject.dataset_id == dataset_id)
    return session.scalar(found) is not None


def _is_due(session: Session, dataset_id: int, version: str) -> bool:
    lacking = open_items(dataset_id).where(LabelingItem.predicted_by != version).limit(1)
    return session.execute(lacking).first() is not None


def _rests(session: Session, dataset_id: int, version: str) -> bool:
    """Whether the last run for this model is a reason not to start another by ourselves."""
    last = session.scalar(
        select(Operation)
        .where(Operation.dataset_id == dataset_id, Operation.kind == KIND)
        .order_by(Operation.id.desc())
        .limit(1)
    )
    if last is None or last.parameters.get("version", last.result.get("model", version)) != version:
        return False
    just = last.finished_at is not None and now() - last.finished_at < _AFTER_FAILURE
    return last.stop_requested or (last.state == "failed" and just)
