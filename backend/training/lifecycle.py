"""The states of a training task and the one function that changes them.

    queued -> preparing -> training -> evaluating -> exporting -> succeeded
    from any of these: stopping -> stopped, or failed; a lost worker puts the task back to queued, also one
    that is stopping and has trained: one more attempt makes a model of what it had learned.

The database is the record: a change is a compare-and-swap on the state (and on the attempt, for a worker),
and writes an event. Whoever loses the race changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from backend.db import now
from backend.errors import WrongState
from backend.training.tables import TaskEvent, TrainingTask


class TaskState(StrEnum):
    """Every state of a training task."""

    QUEUED = "queued"
    PREPARING = "preparing"
    TRAINING = "training"
    EVALUATING = "evaluating"
    EXPORTING = "exporting"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    STOPPED = "stopped"
    FAILED = "failed"


_S = TaskState
ACTIVE = frozenset({_S.PREPARING, _S.TRAINING, _S.EVALUATING, _S.EXPORTING, _S.STOPPING})
FINAL = frozenset({_S.SUCCEEDED, _S.STOPPED, _S.FAILED})

TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    _S.QUEUED: frozenset({_S.PREPARING, _S.STOPPING, _S.FAILED}),
    _S.PREPARING: frozenset({_S.TRAINING, _S.STOPPING, _S.FAILED, _S.QUEUED}),
    _S.TRAINING: frozenset({_S.EVALUATING, _S.STOPPING, _S.FAILED, _S.QUEUED}),
    _S.EVALUATING: frozenset({_S.EXPORTING, _S.STOPPING, _S.FAILED, _S.QUEUED}),
    _S.EXPORTING: frozenset({_S.SUCCEEDED, _S.STOPPING, _S.FAILED, _S.QUEUED}),
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED, _S.QUEUED}),
    _S.SUCCEEDED: frozenset(),
    _S.STOPPED: frozenset(),
    _S.FAILED: frozenset(),
}


def advance(
    session: Session,
    task_id: int,
    old: TaskState,
    new: TaskState,
    *,
    reason: str = "",
    attempt: int | None = None,
) -> bool:
    """Change the state from `old` to `new` and write the event; False when somebody else was faster.

    `attempt` is the fencing number of the worker that asks: a late one changes nothing. Entering
    `preparing` takes the task, which starts a new attempt.

    Raises `WrongState` for a transition that does not exist.
    """
    if new not in TRANSITIONS[old]:
        raise WrongState(f"a training task does not go from {old} to {new}")
    at = now()
    values: dict[str, object] = {"state": new.value}
    if new is TaskState.PREPARING:
        values |= {"attempt": TrainingTask.attempt + 1, "heartbeat_at": at}
    if new in FINAL:
        values |= {"finished_at": at, "worker": ""}
    statement = update(TrainingTask).where(TrainingTask.id == task_id, TrainingTask.state == old.value)
    if attempt is not None:
        statement = statement.where(TrainingTask.attempt == attempt)
    result = session.execute(statement.values(values).execution_options(synchronize_session=False))
    assert isinstance(result, CursorResult)
    if result.rowcount != 1:
        return False
    current = session.scalars(select(TrainingTask.attempt).where(TrainingTask.id == task_id)).one()
    session.add(
        TaskEvent(task_id=task_id, at=at, attempt=current, old=old.value, new=new.value, reason=reason)
    )
    return True
