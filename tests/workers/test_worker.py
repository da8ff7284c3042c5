"""The worker: what it does beside the job that runs in a process forked from it."""

from __future__ import annotations

import math
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import Popen
from typing import cast

import pytest
from redis import Redis
from rq import Worker
from rq.job import Job
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory
from backend.queue import RUN_TRAINING, TRAIN, is_live, queue
from backend.runtime import Runtime
from backend.settings import Settings
from backend.training import records
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask
from tests.valkey import free_port, running_valkey
from workers.worker import SightloopWorker


@pytest.fixture
def task(session: Session, dataset: Dataset) -> TrainingTask:
    """A task in preparation."""
    request = TaskRequest("first", "classification-high-performance")
    row = tasks.create(session, dataset, request, Placement("train"))
    advance(session, row.id, TaskState.QUEUED, TaskState.PREPARING)
    session.commit()
    return row


def runtime_of(folder: Path, sessions: SessionFactory, redis: Redis) -> Runtime:
    made = Runtime(Settings(data_dir=folder))
    made.__dict__.update(sessions=sessions, redis=redis)
    return made


def test_the_forked_process_opens_connections_of_its_own(
    sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that parent and child use both would mix their transactions, or their answers."""
    runtime = Runtime(Settings())
    runtime.__dict__["sessions"] = sessions
    store_of_parent = runtime.artifacts
    engine: Engine = sessions.kw["bind"]
    with engine.connect() as connection:
        of_parent = connection.connection.dbapi_connection
    used: list[object] = []

    def work(*_: object) -> None:
        with engine.connect() as connection:
            used.append(connection.connection.dbapi_connection)
        used.append(runtime.artifacts)

    monkeypatch.setattr("workers.worker.die_with_parent", lambda: None)
    monkeypatch.setattr(Worker, "main_work_horse", work)
    worker = SightloopWorker.__new__(SightloopWorker)
    worker._runtime = runtime
    worker.main_work_horse(cast("Job", None), None)
    assert used[0] is not of_parent and used[1] is not store_of_parent


def test_a_job_goes_on_while_the_queue_does_not_answer(
    sessions: SessionFactory, task: TrainingTask, tmp_path: Path
) -> None:
    """A worker that gave up would take its training with it."""
    port = free_port()
    with running_valkey(port) as redis:
        worker = SightloopWorker(runtime_of(tmp_path, sessions, redis), [TRAIN])
        worker.register_birth()  # type: ignore[no-untyped-call]
        job = queue(redis, TRAIN).enqueue_call(RUN_TRAINING, args=(task.id,), job_id="running")
        execution = worker.prepare_execution(job)
    worker._reaped = -math.inf
    worker.maintain_heartbeats(job, execution)
    with running_valkey(port):
        worker.maintain_heartbeats(job, execution)
        assert redis.exists(worker.key)


def test_a_task_whose_worker_is_told_twice_to_end_waits_again_at_once(
    sessions: SessionFactory, session: Session, redis: Redis, task: TrainingTask, tmp_path: Path
) -> None:
    worker = SightloopWorker(runtime_of(tmp_path, sessions, redis), [TRAIN])
    job = queue(redis, TRAIN).enqueue_call(RUN_TRAINING, args=(task.id,), job_id="running")
    execution = worker.prepare_execution(job)
    worker.job_monitoring_interval = 1
    worker.maintain_heartbeats = lambda *_: os.kill(os.getpid(), signal.SIGTERM)  # type: ignore[method-assign]
    before = signal.signal(signal.SIGTERM, worker.request_force_stop)
    try:
        with Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as horse:
            worker._shutdown_requested_date = datetime.now(UTC) - timedelta(seconds=10)
            worker._horse_pid = horse.pid
            with pytest.raises(SystemExit):
                worker.monitor_work_horse(job, None, execution)
    finally:
        signal.signal(signal.SIGTERM, before)
    session.expire_all()
    assert task.state == "queued"
    assert records.events(session, task.id)[-1].reason == tasks.SHUT_DOWN
    assert is_live(redis, f"train-{task.id}-1")
