"""Run one operation of a dataset (sync, check, ...): what the queue's job does, with its runtime given."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from backend.datasets import check, index, operations
from backend.datasets.operations import AttemptRefused
from backend.datasets.progress import Progress
from backend.datasets.tables import Operation
from backend.db import SessionFactory, transaction
from backend.errors import AppError
from backend.label_studio import registry as labeling
from backend.labels import bucket
from backend.runtime import Runtime
from workers.heart import Heart
from workers.process import process_runtime

logger = structlog.get_logger()
_BEAT_SECONDS = 10.0

Run = Callable[[Runtime, Operation, Progress], dict[str, Any]]
"""Does the work of one claimed operation and answers its result (JSON)."""

# Dotted paths, so that a sync does not load what a pre-labeling needs.
RUNS = {
    "sync": "workers.operations:_sync",
    "check": "workers.operations:_check",
    "label": "backend.label_studio.publishing:run",
    "reconcile": "backend.label_studio.reconciling:run",
    "prelabel": "workers.prelabel:run",
    "next": "workers.choosing:order",
    "doubts": "workers.doubting:doubt",
}


def run(operation_id: int) -> None:
    """What the queue calls."""
    execute(process_runtime(), operation_id)


def execute(runtime: Runtime, operation_id: int) -> None:
    """Claim the operation and run it to its end. Does nothing when another run has it or it has ended.

    Whatever goes wrong is recorded in the row; only what kills the process is not.
    """
    sessions = runtime.sessions
    with transaction(sessions) as session:
        operation = operations.claim(session, operation_id)
        if operation is None:
            return
        _ = operation.dataset.connection  # read while the session is open
    log = logger.bind(operation=operation.id, dataset=operation.dataset.name, kind=operation.kind)
    heart = Heart(partial(_beat, sessions, operation), lost=AttemptRefused, seconds=_BEAT_SECONDS)
    heart.start()
    try:
        result = _run(runtime, operation)
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
    finally:
        heart.end()


def _beat(sessions: SessionFactory, operation: Operation) -> None:
    with transaction(sessions) as session:
        operations.progress(session, operation.id, operation.attempt)


def _run(runtime: Runtime, operation: Operation) -> dict[str, Any]:
    module, _, name = RUNS[operation.kind].partition(":")
    run_kind: Run = getattr(importlib.import_module(module), name)
    return run_kind(runtime, operation, Progress(runtime.sessions, operation))


def _sync(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    dataset, store = operation.dataset, runtime.store(operation.dataset.connection)
    counts = index.sync(runtime.sessions, store, dataset, operation)
    met = counts.get("label_files", 0)
    found = bucket.read_all(runtime.sessions, store, dataset, operation, met=met)
    if found.get("labels_changed") or found.get("labels_withdrawn"):
        labeling.hint_at(runtime.sessions, runtime.redis, dataset.id)
    return counts | found


def _check(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    dataset = operation.dataset
    store = runtime.store(dataset.connection)
    return check.check(runtime.sessions, store, dataset, settings=runtime.settings, progress=progress)


def _fail(sessions: SessionFactory, operation: Operation, error: AppError) -> None:
    try:
        with transaction(sessions) as session:
            operations.fail(session, operation.id, operation.attempt, error)
    except AttemptRefused:
        logger.warning("operation_taken_over", operation=operation.id, attempt=operation.attempt)
