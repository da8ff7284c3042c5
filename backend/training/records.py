"""What a running task leaves behind: steps, log lines and metrics; written by its attempt, read by all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CursorResult, insert, select, update
from sqlalchemy.orm import Session

from backend.db import now
from backend.training.lifecycle import FINAL
from backend.training.tables import TaskEvent, TaskLog, TaskMetric, TaskStep, TrainingTask
from plugins.contract import AttemptLost


def beat(session: Session, task_id: int, attempt: int, *, trained_seconds: float | None = None) -> str:
    """Say that the attempt lives; answers what was asked of it: empty, `keep` or `discard`.

    Raises `AttemptLost` when another attempt owns the task or the task has ended. Every write of a worker
    goes through here first, in the same transaction: this is the fence.
    """
    values: dict[str, Any] = {"heartbeat_at": now()}
    if trained_seconds is not None:
        values["trained_seconds"] = trained_seconds
    result = session.execute(
        update(TrainingTask)
        .where(
            TrainingTask.id == task_id,
            TrainingTask.attempt == attempt,
            TrainingTask.state.not_in([*(state.value for state in FINAL), "queued"]),
        )
        .values(values)
    )
    assert isinstance(result, CursorResult)
    if result.rowcount != 1:
        raise AttemptLost(f"attempt {attempt} of task {task_id} no longer owns it")
    return session.scalars(select(TrainingTask.stop).where(TrainingTask.id == task_id)).one()


def start_step(session: Session, task_id: int, name: str) -> None:
    """The step begins (again): its facts and end are cleared."""
    session.execute(
        update(TaskStep)
        .where(TaskStep.task_id == task_id, TaskStep.name == name)
        .values(state="running", started_at=now(), finished_at=None, facts={})
    )


def end_step(session: Session, task_id: int, name: str, state: str, facts: Mapping[str, Any]) -> None:
    """The step has ended as `succeeded`, `failed` or `stopped`."""
    session.execute(
        update(TaskStep)
        .where(TaskStep.task_id == task_id, TaskStep.name == name)
        .values(state=state, finished_at=now(), facts=dict(facts))
    )


def save_facts(session: Session, task_id: int, name: str, facts: Mapping[str, Any]) -> None:
    """Store the facts of a step that runs."""
    session.execute(
        update(TaskStep).where(TaskStep.task_id == task_id, TaskStep.name == name).values(facts=dict(facts))
    )


def add_logs(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append log lines: task_id, step, at, message."""
    if rows:
        session.execute(insert(TaskLog), list(rows))


def add_metrics(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append metric rows: task_id, attempt, step, epoch, name, value, at."""
    if rows:
        session.execute(insert(TaskMetric), list(rows))


def steps(session: Session, task_id: int) -> list[TaskStep]:
    """The steps in their order."""
    return list(session.scalars(select(TaskStep).where(TaskStep.task_id == task_id).order_by(TaskStep.id)))


def events(session: Session, task_id: int) -> list[TaskEvent]:
    """The changes of state, oldest first."""
    return list(session.scalars(select(TaskEvent).where(TaskEvent.task_id == task_id).order_by(TaskEvent.id)))


def logs(session: Session, task_id: int, *, step: str, after: int, limit: int) -> list[TaskLog]:
    """Log lines after the id `after`, of one step or of all."""
    statement = select(TaskLog).where(TaskLog.task_id == task_id, TaskLog.id > after)
    if step:
        statement = statement.where(TaskLog.step == step)
    return list(session.scalars(statement.order_by(TaskLog.id).limit(limit)))


def last_logs(session: Session, task_id: int, *, step: str, limit: int) -> list[TaskLog]:
    """The newest log lines, oldest first, of one step or of all."""
    statement = select(TaskLog).where(TaskLog.task_id == task_id)
    if step:
        statement = statement.where(TaskLog.step == step)
    return list(session.scalars(statement.order_by(TaskLog.id.desc()).limit(limit)))[::-1]


def points(session: Session, task_id: int, *, limit: int) -> Sequence[Any]:
    """The name, epoch and value of each metric row, oldest first: what curves are drawn from."""
    query = select(TaskMetric.name, TaskMetric.epoch, TaskMetric.value).where(TaskMetric.task_id == task_id)
    return session.execute(query.order_by(TaskMetric.id).limit(limit)).all()


def metrics(session: Session, task_id: int, *, after: int, limit: int) -> list[TaskMetric]:
    """Metric rows after the id `after`."""
    return list(
        session.scalars(
            select(TaskMetric)
            .where(TaskMetric.task_id == task_id, TaskMetric.id > after)
            .order_by(TaskMetric.id)
            .limit(limit)
        )
    )
