"""What the database knows of labeling: the project of a dataset, its state, and when to read it again.

Speaks to no Label Studio and imports no SDK: the API answers from it.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backend.datasets import operations
from backend.datasets.tables import Dataset, Image, Operation
from backend.db import SessionFactory, now
from backend.errors import NotFound, QueueUnavailable, Unauthenticated, WrongState
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels.tables import QueuedLabel
from backend.sealing import Sealer
from backend.settings import Settings

RECONCILE_EVERY = timedelta(minutes=5)
_KEPT = timedelta(hours=1)  # rows of readings that went well; longer than `RECONCILE_EVERY`
SECRET_HEADER = "X-Sightloop-Secret"
_HINTS = "sightloop:labeling:hints"


def project_of(session: Session, dataset_id: int) -> LabelingProject | None:
    """The labeling project of a dataset, if it has one."""
    return session.scalar(select(LabelingProject).where(LabelingProject.dataset_id == dataset_id))


def url_of(settings: Settings, row: LabelingProject) -> str:
    """Where people label."""
    base = settings.label_studio_public_url or settings.label_studio_url
    return f"{base}/projects/{row.project}/data"


def next_url_of(settings: Settings, row: LabelingProject) -> str:
    """Where people label in the order of what to label next; empty before there is one."""
    return f"{url_of(settings, row)}?tab={row.view}" if row.view is not None else ""


def has_order(sessions: SessionFactory, dataset_id: int) -> bool:
    """Whether there is an order of what to label next, or was one that Label Studio still shows."""
    queued = select(QueuedLabel.id).where(QueuedLabel.dataset_id == dataset_id).limit(1)
    ranked = select(LabelingItem.id).where(
        LabelingItem.dataset_id == dataset_id, LabelingItem.position.is_not(None)
    )
    with sessions() as session:
        return session.scalar(queued) is not None or session.scalar(ranked.limit(1)) is not None


def state(session: Session, settings: Settings, dataset: Dataset) -> dict[str, Any]:
    """`state` is `none`, `ready` or `failing` (Label Studio could not be read; `error` says why)."""
    row = project_of(session, dataset.id)
    items = select(func.count()).select_from(LabelingItem).where(LabelingItem.dataset_id == dataset.id)
    skipped = select(func.count()).select_from(Image).where(Image.dataset_id == dataset.id, Image.skipped)
    return {
        "name": dataset.name,
        "state": "none" if row is None else "failing" if row.error else "ready",
        "url": "" if row is None else url_of(settings, row),
        "next_url": "" if row is None else next_url_of(settings, row),
        "project": None if row is None else row.project,
        "items": session.scalar(items.where(LabelingItem.archived.is_(False))) or 0,
        "annotated": session.scalar(items.where(LabelingItem.annotated != "")) or 0,
        "skipped": session.scalar(skipped) or 0,
        "archived": session.scalar(items.where(LabelingItem.archived)) or 0,
        "reconciled_at": None if row is None else row.reconciled_at,
        "hinted_at": None if row is None else row.hinted_at,
        "error": "" if row is None else row.error,
    }


def authenticate_hint(session: Session, sealer: Sealer, project_id: int, secret: str) -> None:
    """Whether a webhook knows the secret of its project. Raises `NotFound`, `Unauthenticated`."""
    row = session.get(LabelingProject, project_id)
    if row is None or not row.webhook_secret_encrypted:
        raise NotFound("there is no such webhook")
    known = sealer.open(row.webhook_secret_encrypted)
    if not hmac.compare_digest(known.encode(), secret.encode()):
        raise Unauthenticated("the webhook's secret is wrong")


def hint(redis: Redis, project_id: int) -> None:
    """Note that something has changed; any number of notes is one. Raises `QueueUnavailable`."""
    try:
        redis.hset(_HINTS, str(project_id), now().isoformat())
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__})") from None


def hint_at(sessions: SessionFactory, redis: Redis, dataset_id: int) -> None:
    """The same for the dataset's project, if it has one. Without a queue nothing happens: the project is read
    again soon anyway.
    """
    with sessions() as session:
        row = project_of(session, dataset_id)
    if row is not None:
        with suppress(QueueUnavailable):
            hint(redis, row.id)


def take_hints(redis: Redis) -> list[int]:
    """The projects that were hinted at since the last question. Raises `QueueUnavailable`."""
    try:
        pipe = redis.pipeline()
        pipe.hkeys(_HINTS)
        pipe.delete(_HINTS)
        found = pipe.execute()[0]
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__})") from None
    return [int(key) for key in found]


def start_due(session: Session, redis: Redis) -> list[Operation]:
    """Queued reconciles, which the caller commits and then enqueues: of the projects that were hinted at, and
    of those not read for `RECONCILE_EVERY`. A project that is being read keeps its hint for later.
    """
    hinted = take_hints(redis)
    _forget_old(session)
    started = []
    for row in session.scalars(select(LabelingProject)):
        if row.id not in hinted and not _is_due(session, row):
            continue
        dataset = session.get_one(Dataset, row.dataset_id)
        try:
            started.append(operations.start(session, dataset, "reconcile"))
        except WrongState:
            if row.id in hinted:
                hint(redis, row.id)
            continue
        if row.id in hinted:
            row.hinted_at = now()
    return started


def _forget_old(session: Session) -> None:
    """Readings that went well leave nothing to look at, and there are many of them."""
    session.execute(
        delete(Operation)
        .where(
            Operation.kind == "reconcile",
            Operation.state == "succeeded",
            Operation.created_at < now() - _KEPT,
        )
        .execution_options(synchronize_session=False)
    )


def _is_due(session: Session, row: LabelingProject) -> bool:
    last = session.scalar(
        select(func.max(Operation.created_at)).where(
            Operation.dataset_id == row.dataset_id, Operation.kind == "reconcile"
        )
    )
    moment = max(filter(None, (last, row.created_at)))
    return bool(now() - moment >= RECONCILE_EVERY)
