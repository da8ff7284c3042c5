"""The training context: what reaches the database, and the fence around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.errors import AppError, StorageDenied, StorageFull, StorageUnreachable
from backend.training import records
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.training.tables import TaskLog, TaskMetric, TrainingTask
from plugins.contract import AttemptLost, Example, TrainingStopped
from workers import patience
from workers.context import Context, Record

S = TaskState


@pytest.fixture
def task(session: Session, dataset: Dataset) -> TrainingTask:
    request = TaskRequest("first", "classification-high-performance", time_budget=60)
    row = tasks.create(session, dataset, request, Placement("train"))
    advance(session, row.id, S.QUEUED, S.PREPARING)
    advance(session, row.id, S.PREPARING, S.TRAINING)
    session.commit()
    return row


@pytest.fixture
def record(sessions: SessionFactory, task: TrainingTask) -> Record:
    made = Record(sessions, task.id, 1)
    made.start_step("train")
    return made


def _context(record: Record, budget: float = 60) -> Context:
    examples = [
        Example(key=f"{side}.jpg", etag="", size=1, content_hash="", split=side, label="a")
        for side in ("train", "train", "validation")
    ]
    return Context(
        algorithm="a",
        params=None,
        labels=("a", "b"),
        device="cpu",
        threads=1,
        folder=Path(),
        time_budget=budget,
        record=record,
        snapshot=examples,
        reader=lambda example: example.key.encode(),
    )


def _requeue(sessions: SessionFactory, task_id: int) -> None:
    with transaction(sessions) as session:
        tasks.lose(session, session.get_one(TrainingTask, task_id), "gone")


def test_logs_metrics_and_facts_reach_the_database(sessions: SessionFactory, record: Record) -> None:
    context = _context(record)
    context.log("hello")
    context.report("loss", 0.5, epoch=1)
    context.fact("device", "cpu")
    record.end_step("succeeded")
    with sessions() as session:
        assert session.scalars(select(TaskLog.message)).all() == ["hello"]
        row = session.scalars(select(TaskMetric)).one()
        assert (row.step, row.name, row.value, row.epoch, row.attempt) == ("train", "loss", 0.5, 1, 1)
        step = records.steps(session, record.task_id)[1]
        assert (step.name, step.state, step.facts) == ("train", "succeeded", {"device": "cpu"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused(record: Record, value: float) -> None:
    with pytest.raises(ValueError, match="loss is"):
        _context(record).report("loss", value, epoch=1)


def test_the_examples_come_by_their_side(record: Record) -> None:
    context = _context(record)
    assert len(context.examples("train")) == 2
    assert [context.read(example) for example in context.examples("validation")] == [b"validation.jpg"]
    assert context.examples("test") == []


def test_a_late_attempt_writes_nothing(sessions: SessionFactory, record: Record) -> None:
    _requeue(sessions, record.task_id)
    with pytest.raises(AttemptLost):
        _context(record).checkpoint()
    with pytest.raises(AttemptLost):
        record.log("I am still here")
    with pytest.raises(AttemptLost):
        record.end_step("succeeded")
    with sessions() as session:
        assert session.scalars(select(TaskLog)).all() == []


def test_asking_to_stop_is_seen(sessions: SessionFactory, record: Record) -> None:
    context = _context(record)
    assert not context.should_stop()
    with transaction(sessions) as session:
        tasks.request_stop(session, session.get_one(TrainingTask, record.task_id), discard=False)
    record.flush()
    assert context.should_stop()
    with transaction(sessions) as session:
        tasks.request_stop(session, session.get_one(TrainingTask, record.task_id), discard=True)
    record.flush()
    with pytest.raises(TrainingStopped):
        context.should_stop()


def test_the_time_of_earlier_attempts_counts(sessions: SessionFactory, task: TrainingTask) -> None:
    record = Record(sessions, task.id, 1, trained_before=59.5)
    record.start_step("train")
    assert _context(record, budget=60).time_left() <= 0.5
    assert _context(record, budget=59).should_stop()


def test_only_training_uses_up_the_budget(sessions: SessionFactory, task: TrainingTask) -> None:
    record = Record(sessions, task.id, 1)
    record.start_step("prepare")
    assert record.trained_seconds == 0.0
    record.start_step("train")
    assert record.trained_seconds > 0.0


class _Store:
    """Refuses a few times, then answers; what else happens meanwhile is the caller's."""

    def __init__(self, refusals: int, kind: type[AppError], meanwhile: Callable[[], None]) -> None:
        self.refusals, self.kind, self.meanwhile = refusals, kind, meanwhile

    def __call__(self) -> str:
        if not self.refusals:
            return "stored"
        self.refusals -= 1
        self.meanwhile()
        raise self.kind("s3 cannot be reached")


@pytest.mark.parametrize("kind", [StorageUnreachable, StorageFull])
def test_a_store_that_is_away_for_a_while_is_waited_for(
    sessions: SessionFactory, record: Record, monkeypatch: pytest.MonkeyPatch, kind: type[AppError]
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=pauses.append, monotonic=lambda: 0.0))
    assert patience.patiently(record, _Store(7, kind, lambda: None)) == "stored"
    assert pauses == [1, 2, 4, 8, 15, 15, 15]
    with sessions() as session:  # said once
        assert session.scalars(select(TaskLog.message)).all() == [
            "s3 cannot be reached; it is tried again for 30 minutes"
        ]


def test_a_store_that_stays_away_ends_the_waiting(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 1900.0])
    monkeypatch.setattr(
        patience, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(clock))
    )
    with pytest.raises(StorageUnreachable):
        patience.patiently(record, _Store(9, StorageUnreachable, lambda: None))


def test_waiting_for_a_store_hears_that_nothing_is_to_be_kept(
    sessions: SessionFactory, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "time", SimpleNamespace(sleep=lambda _: None, monotonic=lambda: 0.0))

    def discard() -> None:
        with transaction(sessions) as session:
            tasks.request_stop(session, session.get_one(TrainingTask, record.task_id), discard=True)

    with pytest.raises(TrainingStopped):
        patience.patiently(record, _Store(9, StorageUnreachable, discard))


def test_what_else_a_store_refuses_is_not_waited_for(record: Record) -> None:
    with pytest.raises(StorageDenied):
        patience.patiently(record, _Store(1, StorageDenied, lambda: None))
