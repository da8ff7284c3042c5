"""The reaper: finds work whose worker is gone, and rows whose job was lost, and queues them again.

It runs inside every worker every few seconds; all of it is compare-and-swap, so several may run at once.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from backend.datasets import operations
from backend.db import now, transaction
from backend.label_studio import registry as labeling
from backend.models import removal
from backend.queue import DATA, RUN_OPERATION, RUN_TRAINING, enqueue, is_live
from backend.runtime import Runtime
from backend.services import usage
from backend.training import registry as tasks
from backend.training.lifecycle import ACTIVE, TaskState
from backend.training.tables import TrainingTask
from workers.process import is_gone
from workers.scratch import claimed, forget

logger = structlog.get_logger()
_GRACE = timedelta(seconds=15)


def reap(runtime: Runtime) -> None:
    """One round. Raises `QueueUnavailable` when Valkey does not answer; the next round goes on."""
    _lose_tasks(runtime)
    _forget_tasks(runtime)
    _enqueue_tasks(runtime)
    _requeue_operations(runtime)
    _reconcile_labels(runtime)
    usage.note_due(runtime)
    removal.sweep(runtime)


def _lose_tasks(runtime: Runtime) -> None:
    silent = now() - timedelta(seconds=runtime.settings.lost_after)
    with runtime.sessions() as session:
        suspects = [task.id for task in tasks.active(session) if _is_lost(task, silent)]
    for task_id in suspects:
        with transaction(runtime.sessions) as session:
            task = session.get_one(TrainingTask, task_id)
            if TaskState(task.state) not in ACTIVE or not _is_lost(task, silent):
                continue
            queued = tasks.lose(session, task, "its worker was lost")
            logger.warning("worker_lost", task=task.name, attempt=task.attempt, queued_again=queued)
        if queued:
            enqueue(runtime.redis, task.queue, RUN_TRAINING, task.id, attempt=task.attempt)
        else:  # it ended without its worker, which would have tidied up
            forget(runtime.settings, task_id)


def _forget_tasks(runtime: Runtime) -> None:
    """What tasks have left on this machine that ended elsewhere, or while they waited, or are deleted."""
    here = claimed(runtime.settings)
    with runtime.sessions() as session:
        needed = tasks.unfinished(session, here)
    for task_id in set(here) - needed:
        forget(runtime.settings, task_id)


def _is_lost(task: TrainingTask, silent: datetime) -> bool:
    return is_gone(task.worker) or task.heartbeat_at is None or task.heartbeat_at < silent


def _enqueue_tasks(runtime: Runtime) -> None:
    """A queued task without a job: the queue was flushed, or the process died between commit and enqueue."""
    with runtime.sessions() as session:
        rows = [(t.queue, t.id, t.attempt) for t in tasks.waiting(session, older_than=_GRACE)]
    for name, task_id, attempt in rows:
        if not is_live(runtime.redis, f"train-{task_id}-{attempt}"):
            enqueue(runtime.redis, name, RUN_TRAINING, task_id, attempt=attempt)


def _requeue_operations(runtime: Runtime) -> None:
    silent = timedelta(seconds=runtime.settings.lost_after)
    with transaction(runtime.sessions) as session:
        rows = [(row.id, row.attempt) for row in operations.requeue_lost(session, silent_for=silent)]
    for operation_id, attempt in rows:
        enqueue(runtime.redis, DATA, RUN_OPERATION, operation_id, attempt=attempt)


def _reconcile_labels(runtime: Runtime) -> None:
    """Read Label Studio where a webhook has hinted at a change, and every few minutes."""
    if not runtime.settings.label_studio_url:
        return
    with transaction(runtime.sessions) as session:
        rows = [(row.id, row.attempt) for row in labeling.start_due(session, runtime.redis)]
    for operation_id, attempt in rows:
        enqueue(runtime.redis, DATA, RUN_OPERATION, operation_id, attempt=attempt)
