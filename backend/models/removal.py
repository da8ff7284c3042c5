"""Deleting models together with their bundles.

The row goes first, and in the same transaction the bundle is noted as stale; then it is removed from the
store. Whatever comes between, the note stays, and the next sweep goes on.
"""

from __future__ import annotations

import structlog
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from backend.db import transaction
from backend.errors import AppError
from backend.models import excerpts, registry
from backend.models.tables import Model, StaleObject
from backend.runtime import Runtime

logger = structlog.get_logger()


def delete(runtime: Runtime, workspace_id: int, name: str) -> None:
    """Delete a model and its bundle; services keep the name of what they have served.

    The dataset's current model is then the newest good one before it. Raises `NotFound`, `InUse`.
    """
    with transaction(runtime.sessions) as session:
        forget(session, registry.get(session, workspace_id, name))
    sweep(runtime)


def forget(session: Session, model: Model) -> None:
    """Delete the row and note the bundle; the caller commits, then sweeps. Raises `InUse`."""
    digest = model.digest
    registry.delete(session, model)
    session.flush()
    note(session, digest)


def note(session: Session, digest: str) -> None:
    """Note the bundle as stale unless a model has it; the caller commits, then sweeps."""
    key = registry.bundle_key(digest)
    noted = session.scalar(select(StaleObject.id).where(StaleObject.key == key))
    if noted is None and not _is_used(session, digest):
        session.add(StaleObject(key=key))


def sweep(runtime: Runtime) -> None:
    """Remove what is noted as stale. What the store does not let go now is left for the next time."""
    with runtime.sessions() as session:
        keys = session.scalars(select(StaleObject.key)).all()
    for key in keys:
        try:
            runtime.artifacts.delete(runtime.settings.s3_bucket, [key])
        except AppError as error:
            logger.warning("bundle_not_removed", key=key, reason=str(error))
            return
        excerpts.forget(runtime, key)
        with transaction(runtime.sessions) as session:
            row = session.scalar(select(StaleObject).where(StaleObject.key == key))
            if row is not None:
                session.delete(row)


def _is_used(session: Session, digest: str) -> bool:
    return bool(session.scalar(select(exists().where(Model.digest == digest))))
