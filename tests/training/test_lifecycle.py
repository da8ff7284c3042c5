"""The states of a training task."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.errors import WrongState
from backend.training.lifecycle import FINAL, TRANSITIONS, TaskState, advance
from backend.training.tables import TaskEvent, TrainingTask

S = TaskState


@pytest.fixture
def task(session: Session, dataset: Dataset) -> TrainingTask:
    row = TrainingTask(
        workspace_id=dataset.workspace_id,
        dataset_id=dataset.id,
        name="first",
        algorithm="classification-high-performance",
        parameters={},
        labels=["bolt", "nut"],
        queue="train",
        time_budget=60,
    )
    session.add(row)
    session.commit()
    return row


def test_the_whole_way_to_success_leaves_an_event_a_change(session: Session, task: TrainingTask) -> None:
    way = [S.QUEUED, S.PREPARING, S.TRAINING, S.EVALUATING, S.EXPORTING, S.SUCCEEDED]
    for old, new in pairwise(way):
        assert advance(session, task.id, old, new)
    session.commit()
    session.refresh(task)
    assert task.state == "succeeded"
    assert task.finished_at is not None
    events = session.scalars(select(TaskEvent).order_by(TaskEvent.id)).all()
    assert [(e.old, e.new) for e in events] == [(a.value, b.value) for a, b in pairwise(way)]


def test_taking_a_task_starts_a_new_attempt(session: Session, task: TrainingTask) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    advance(session, task.id, S.PREPARING, S.QUEUED, reason="worker lost", attempt=1)
    advance(session, task.id, S.QUEUED, S.PREPARING)
    session.refresh(task)
    assert task.attempt == 2


def test_a_late_attempt_changes_nothing(session: Session, task: TrainingTask) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    advance(session, task.id, S.PREPARING, S.QUEUED, attempt=1)
    advance(session, task.id, S.QUEUED, S.PREPARING)
    assert not advance(session, task.id, S.PREPARING, S.TRAINING, attempt=1)
    assert advance(session, task.id, S.PREPARING, S.TRAINING, attempt=2)


def test_of_two_workers_one_gets_the_task(sessions: SessionFactory, task: TrainingTask) -> None:
    start, wins = threading.Barrier(4), []

    def take() -> None:
        start.wait()
        with transaction(sessions) as session:
            wins.append(advance(session, task.id, S.QUEUED, S.PREPARING))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [False, False, False, True]


@pytest.mark.parametrize("state", sorted(FINAL))
def test_nothing_leads_out_of_an_end(session: Session, task: TrainingTask, state: TaskState) -> None:
    for new in S:
        with pytest.raises(WrongState):
            advance(session, task.id, state, new)


def test_from_every_working_state_one_can_stop_and_fail() -> None:
    for state in set(S) - FINAL - {S.STOPPING}:
        assert {S.STOPPING, S.FAILED} <= TRANSITIONS[state]


def test_every_state_can_reach_an_end() -> None:
    for state in S:
        seen, todo = {state}, [state]
        while todo:
            for following in TRANSITIONS[todo.pop()] - seen:
                seen.add(following)
                todo.append(following)
        assert seen & FINAL
