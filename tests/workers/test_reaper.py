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
from workers.scratch import task_folder


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
    (task_folder(runtime.settings, row.id) / "training").mkdir(parents=True)
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
