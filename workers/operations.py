"""Run one operation (sync or check) of a dataset: what the queue's job does, with its parts given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import structlog

from backend.datasets import check, index, operations
from backend.datasets.operations import AttemptRefused
from backend.datasets.tables import Operation
from backend.db import SessionFactory, transaction
from backend.errors import AppError
from backend.settings import Settings
from backend.storage import ObjectStore
from backend.workspaces.tables import StorageConnection
from workers.process import process_runtime

logger = structlog.get_logger()
_BEAT = 1.0  # seconds between two notes of progress

StoreFor = Callable[[StorageConnection], ObjectStore]


def run(operation_id: int) -> None:
    """What the queue calls."""
    runtime = process_runtime()
    execute(runtime.sessions, runtime.store, runtime.settings, operation_id)


def execute(sessions: SessionFactory, store_for: StoreFor, settings: Settings, operation_id: int) -> None:
    """Claim the operation and run it to its end. Does nothing when another run has it or it has ended.

    Whatever goes wrong is recorded in the row; only what kills the process is not.
    """
    with transaction(sessions) as session:
        operation = operations.claim(session, operation_id)
        if operation is None:
            return
        _ = operation.dataset.connection  # read while the session is open
    log = logger.bind(operation=operation.id, dataset=operation.dataset.name, kind=operation.kind)
    try:
        store = store_for(operation.dataset.connection)
        result = _run(sessions, store, settings, operation)
        with transaction(sessions) as session:
            operations.finish(session, operation.id, operation.attempt, result)
        log.info("operation_succeeded", **result)
    except AttemptRefused:
        log.warning("operation_taken_over", attempt=operation.attempt)
    except AppError as error:
        log.warning("operation_failed", code=error.code, error=str(error))
        _fail(sessions, operation, error)
    except Exception:
        log.exception("operation_failed")
        _fail(
            sessions,
            operation,
            AppError(f"internal error; see the log of operation {operation.id}"),
        )


def _run(
    sessions: SessionFactory, store: ObjectStore, settings: Settings, operation: Operation
) -> dict[str, Any]:
    if operation.kind == "sync":
        return index.sync(sessions, store, operation.dataset, operation)
    last = time.monotonic()

    def note(done: int, total: int) -> None:
        nonlocal last
        if done < total and time.monotonic() - last < _BEAT:
            return
        last = time.monotonic()
        with transaction(sessions) as session:
            operations.progress(session, operation.id, operation.attempt, done=done, total=total)

    return check.check(sessions, store, operation.dataset, settings=settings, progress=note)


def _fail(sessions: SessionFactory, operation: Operation, error: AppError) -> None:
    try:
        with transaction(sessions) as session:
            operations.fail(session, operation.id, operation.attempt, error)
    except AttemptRefused:
        logger.warning("operation_taken_over", operation=operation.id, attempt=operation.attempt)
