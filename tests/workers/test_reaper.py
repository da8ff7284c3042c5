"""The reaper: work whose worker is gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory
from backend.queue import is_live
from backend.runtime import Runtime
from backend.settings import Settings
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask
from workers.process import identity
from workers.reaper import reap
from workers.scratch import claim, task_folder


@pytest.fixture
def runtime(sessions: SessionFactory, redis: Redis, tmp_path: Path) -> Runtime:
    made = Runtime(Settings(data_dir=tmp_path))
    made.__dict__.update(sessions=sessions, redis=redis)
    return made


@pytest.fixture
def task(session: Session, dataset: Dataset, runtime: Runtime) -> TrainingTask:
    """A task in preparation whose worker has ended, with its folder."""
    request = TaskRequest("first", "classification-high-performance")
    row = tasks.create(session, dataset, request, Placement("train"))
    advance(session, row.id, TaskState.QUEUED, TaskState.PREPARING)
    session.refresh(row)
    machine, pid, started = identity().split("/")
    row.worker = f"{machine}/{pid}/{float(started) - 100:.0f}"
    session.commit()
    claim(runtime.settings, row.id, first=True)
    return row


def test_a_lost_task_is_queued_again_and_keeps_its_folder(
    runtime: Runtime, session: Session, task: TrainingTask
) -> None:
    reap(runtime)
    session.expire_all()
    assert task.state == "queued"
    assert is_live(runtime.redis, f"train-{task.id}-1")
    assert task_folder(runtime.settings, task.id).exists()


def test_a_task_that_ends_without_its_worker_leaves_no_folder(
    runtime: Runtime, session: Session, task: TrainingTask
) -> None:
    tasks.request_stop(session, task, discard=True)
    session.commit()
    reap(runtime)
    session.expire_all()
    assert task.state == "stopped"
    assert not task_folder(runtime.settings, task.id).exists()


def test_a_living_worker_is_left_alone(runtime: Runtime, session: Session, task: TrainingTask) -> None:
    task.worker = identity()
    session.commit()
    reap(runtime)
    session.expire_all()
    assert task.state == "preparing"


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_task_has_left_is_removed_when_it_was_stopped_while_it_waited_or_deleted(
    runtime: Runtime, session: Session, task: TrainingTask, gone: bool
) -> None:
    reap(runtime)
    session.refresh(task)
    tasks.request_stop(session, task, discard=True)
    if gone:
        session.delete(task)
    session.commit()
    reap(runtime)
    assert not task_folder(runtime.settings, task.id).exists()


def test_the_folder_of_another_stack_in_the_same_data_directory_stays(
    runtime: Runtime, task: TrainingTask, tmp_path: Path
) -> None:
    other = Settings(data_dir=tmp_path, database_url="sqlite:////elsewhere/sightloop.db")
    claim(other, task.id + 1, first=True)
    reap(runtime)
    assert task_folder(other, task.id + 1).exists()


def test_the_first_attempt_finds_nothing_of_a_deleted_task_with_its_number(
    runtime: Runtime, task: TrainingTask
) -> None:
    checkpoint = task_folder(runtime.settings, task.id) / "checkpoint"
    checkpoint.touch()
    claim(runtime.settings, task.id, first=False)
    assert checkpoint.exists()
    claim(runtime.settings, task.id, first=True)
    assert not checkpoint.exists()
