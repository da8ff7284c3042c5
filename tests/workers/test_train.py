"""What a training says when something goes wrong that is not the plugin's."""

from __future__ import annotations

import errno

import pytest
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory
from backend.runtime import Runtime
from backend.settings import Settings
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask
from plugins.contract import PluginError
from workers import prepare, train


@pytest.fixture
def task(session: Session, dataset: Dataset) -> TrainingTask:
    row = tasks.create(
        session, dataset, TaskRequest("first", "classification-high-performance"), Placement("train")
    )
    session.commit()
    return row


@pytest.mark.parametrize(
    "error, code, sentence",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "storage_full", "disk is full"),
        (MemoryError(), "out_of_memory", "more memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out_of_memory", "more memory"),
        (PluginError("loss_not_finite", "the loss is not a number"), "loss_not_finite", "not a number"),
        (RuntimeError("the password is swordfish"), "internal", "worker's log"),
    ],
)
def test_whatever_happens_the_task_fails_with_a_code_and_a_sentence(
    session: Session,
    sessions: SessionFactory,
    task: TrainingTask,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: str,
    sentence: str,
) -> None:
    def fail(_attempt: object) -> None:
        raise error

    monkeypatch.setattr(prepare, "prepare", fail)
    runtime = Runtime(Settings())
    runtime.__dict__["sessions"] = sessions
    train.execute(runtime, task.id)
    session.expire_all()
    assert (task.state, task.error_code) == ("failed", code)
    assert sentence in task.error
    assert "swordfish" not in task.error


def test_the_second_job_of_a_task_does_nothing(
    session: Session, sessions: SessionFactory, task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_attempt: object) -> None:
        raise PluginError("x", "y")

    monkeypatch.setattr(prepare, "prepare", fail)
    runtime = Runtime(Settings())
    runtime.__dict__["sessions"] = sessions
    train.execute(runtime, task.id)
    train.execute(runtime, task.id)
    session.expire_all()
    assert task.attempt == 1
