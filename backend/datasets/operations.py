"""Operations: long work on a dataset (sync, check, ...) as rows. The row is the record; a job may run twice.

A run claims its row and gets an attempt number. Whatever it writes later is written only while that number
is still the row's: when a run was taken for lost and another has claimed the row, the old one is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal, cast

from sqlalchemy import CursorResult, and_, func, not_, or_, select, update
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Operation
from backend.db import now
from backend.errors import AppError, InvalidRequest, WrongState

# Read the bucket; look at the images; write to Label Studio, read it, write predictions there; order what to
# label next; list doubtful labels.
KINDS = ("sync", "check", "label", "reconcile", "prelabel", "next", "doubts")
ACTIVE = ("queued", "running")
MAX_ATTEMPTS = 5

Kind = Literal["sync", "check", "label", "reconcile", "prelabel", "next", "doubts"]


class AttemptRefused(Exception):
    """Another run owns the operation now, or it has ended: write nothing more and leave."""


def start(
    session: Session, dataset: Dataset, kind: str, parameters: dict[str, Any] | None = None
) -> Operation:
    """A queued operation, which the caller commits and then enqueues; `parameters` are JSON for its run.

    Raises `InvalidRequest` for an unknown kind, `WrongState` while one of that kind is queued or running.
    """
    if kind not in KINDS:
        raise InvalidRequest(f"{kind!r} is no operation; there are {', '.join(KINDS)}")
    # Two requests at once: the lock on the dataset lets the second see what the first has started.
    session.execute(select(Dataset.id).where(Dataset.id == dataset.id).with_for_update())
    running = active(session, dataset, kind)
    if running is not None:
        raise WrongState(
            f"a {kind} of dataset {dataset.name!r} is {running.state} already (operation {running.id}); "
            "wait for it"
        )
    operation = Operation(dataset_id=dataset.id, kind=kind, parameters=parameters or {})
    session.add(operation)
    session.flush()
    return operation


def active(session: Session, dataset: Dataset, kind: str) -> Operation | None:
    """The operation of that kind that is queued or running, if any."""
    return session.scalars(
        select(Operation)
        .where(Operation.dataset_id == dataset.id, Operation.kind == kind, Operation.state.in_(ACTIVE))
        .order_by(Operation.id)
        .limit(1)
    ).first()


def list_(session: Session, dataset: Dataset, *, limit: int = 20) -> Sequence[Operation]:
    """The newest operations first. Readings of Label Studio that went well are left out: they start by
    themselves, every few seconds while people label.
    """
    routine = and_(Operation.kind == "reconcile", Operation.state == "succeeded")
    query = select(Operation).where(Operation.dataset_id == dataset.id, not_(routine))
    return session.scalars(query.order_by(Operation.id.desc()).limit(limit)).all()


def stop(session: Session, operation: Operation) -> None:
    """Ask a run to end with what it has done; only kinds that ask `should_stop` heed it.

    Raises `WrongState` when it has ended.
    """
    if operation.state not in ACTIVE:
        raise WrongState(f"operation {operation.id} has {operation.state} already; there is nothing to stop")
    operation.stop_requested = True


def claim(session: Session, operation_id: int) -> Operation | None:
    """Make a queued operation running, under a new attempt number.

    None when there is nothing to do: it is gone, has ended, or another run has it.
    """
    changed = _execute(
        session,
        update(Operation)
        .where(Operation.id == operation_id, Operation.state == "queued")
        .values(
            state="running",
            attempt=Operation.attempt + 1,
            started_at=func.coalesce(Operation.started_at, now()),
            heartbeat_at=now(),
        ),
    )
    return session.get(Operation, operation_id, populate_existing=True) if changed else None


def progress(session: Session, operation_id: int, attempt: int, **values: Any) -> None:
    """Record progress (`done`, `total`, `cursor`, `seen`, `result`) and a heartbeat.

    Raises `AttemptRefused` when this attempt owns the operation no more; the transaction must not be
    committed then.
    """
    changed = _execute(session, _owned(operation_id, attempt).values(heartbeat_at=now(), **values))
    if not changed:
        raise AttemptRefused(f"operation {operation_id}: attempt {attempt} is not its attempt any more")


def finish(session: Session, operation_id: int, attempt: int, result: dict[str, Any]) -> None:
    """It has succeeded. Raises `AttemptRefused`."""
    progress(session, operation_id, attempt, state="succeeded", result=result, seen=None, finished_at=now())


def fail(session: Session, operation_id: int, attempt: int, error: AppError) -> None:
    """It has failed, and says why. Raises `AttemptRefused`."""
    progress(
        session,
        operation_id,
        attempt,
        state="failed",
        error_code=error.code,
        error=str(error),
        finished_at=now(),
    )


def requeue_lost(session: Session, *, silent_for: timedelta) -> list[Operation]:
    """Put back running operations without a heartbeat for that long; fail those that were lost too often.

    Answers what is queued and waits for a job longer than that, so that an operation whose job was lost
    on the way to the queue is given one too. A job that comes twice does nothing the second time.
    """
    silent_since = now() - silent_for
    lost = (Operation.state == "running", Operation.heartbeat_at < silent_since)
    session.execute(
        update(Operation)
        .where(*lost, Operation.attempt >= MAX_ATTEMPTS)
        .values(
            state="failed",
            error_code="worker_lost",
            error=f"the worker was lost in each of {MAX_ATTEMPTS} attempts; look at its log and its memory",
            finished_at=now(),
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Operation).where(*lost).values(state="queued").execution_options(synchronize_session=False)
    )
    waits = or_(Operation.heartbeat_at < silent_since, Operation.heartbeat_at.is_(None))
    return list(
        session.scalars(
            select(Operation)
            .where(Operation.state == "queued", Operation.created_at < silent_since, waits)
            .order_by(Operation.id)
            .execution_options(populate_existing=True)
        )
    )


def _owned(operation_id: int, attempt: int) -> Any:
    return (
        update(Operation)
        .where(Operation.id == operation_id, Operation.attempt == attempt, Operation.state == "running")
        .execution_options(synchronize_session=False)
    )


def _execute(session: Session, statement: Any) -> int:
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
