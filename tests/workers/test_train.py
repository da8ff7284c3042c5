"""What a training says when something goes wrong that is not the plugin's."""

from __future__ import annotations

import errno
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.models.registry import bundle_key
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask
from plugins.contract import Evaluation, PluginError
from tests.workers.bundles import bare
from workers import export, prepare, train
from workers.evaluate import Judgement

BUCKET = "stopped-bundles"


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
    tmp_path: Path,
    error: Exception,
    code: str,
    sentence: str,
) -> None:
    def fail(_attempt: object) -> None:
        raise error

    monkeypatch.setattr(prepare, "prepare", fail)
    runtime = Runtime(Settings(data_dir=tmp_path))
    runtime.__dict__["sessions"] = sessions
    train.execute(runtime, task.id)
    session.expire_all()
    assert (task.state, task.error_code) == ("failed", code)
    assert sentence in task.error
    assert "swordfish" not in task.error


def test_the_second_job_of_a_task_does_nothing(
    session: Session,
    sessions: SessionFactory,
    task: TrainingTask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def fail(_attempt: object) -> None:
        raise PluginError("x", "y")

    monkeypatch.setattr(prepare, "prepare", fail)
    runtime = Runtime(Settings(data_dir=tmp_path))
    runtime.__dict__["sessions"] = sessions
    train.execute(runtime, task.id)
    train.execute(runtime, task.id)
    session.expire_all()
    assert task.attempt == 1


@pytest.mark.parametrize("trained", [0.0, 3600.0])
def test_what_was_learned_before_the_stop_is_kept_by_the_attempt_after_it(
    session: Session,
    sessions: SessionFactory,
    task: TrainingTask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trained: float,
) -> None:
    runtime = Runtime(Settings(data_dir=tmp_path))
    runtime.__dict__["sessions"] = sessions
    manifest = bare(task.name, task.algorithm)

    def steps(attempt: train.Attempt) -> None:
        attempt.record.start_step("prepare")
        attempt.record.flush()
        prepare._go_on(attempt)
        attempt.record.end_step("succeeded")
        attempt.enter("train", TaskState.PREPARING, TaskState.TRAINING)
        attempt.record.end_step("succeeded")
        attempt.enter("evaluate", TaskState.TRAINING, TaskState.EVALUATING)
        judgement = Judgement(Evaluation({"accuracy": 1.0}), "validation")
        train._finish(attempt, export.Exported(manifest, 1, judgement))

    monkeypatch.setattr(train, "_steps", steps)
    task.trained_seconds, task.stop = trained, "keep"
    session.commit()
    train.execute(runtime, task.id)
    session.expire_all()
    assert (task.state, task.error_code) == ("stopped", "")
    assert session.scalars(select(Model.name)).all() == (["first"] if trained else [])


@pytest.mark.parametrize("discard", [False, True])
def test_who_asks_to_discard_while_the_model_is_exported_gets_none(
    session: Session,
    sessions: SessionFactory,
    store: ObjectStore,
    task: TrainingTask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    discard: bool,
) -> None:
    runtime = Runtime(Settings(data_dir=tmp_path, s3_bucket=BUCKET))
    runtime.__dict__.update(sessions=sessions, artifacts=store)
    store.ensure_bucket(BUCKET)
    manifest = bare(task.name, task.algorithm)
    key = bundle_key(manifest.digest)

    def steps(attempt: train.Attempt) -> None:
        """What the steps leave behind, and the question that comes when the bundle is in the store."""
        with transaction(sessions) as writing:
            for old, new in pairwise(("preparing", "training", "evaluating", "exporting")):
                assert advance(writing, task.id, TaskState(old), TaskState(new))
        attempt.record.start_step("export")
        store.put_bytes(BUCKET, key, b"a bundle")
        with transaction(sessions) as writing:
            tasks.request_stop(writing, writing.get_one(TrainingTask, task.id), discard=discard)
        judgement = Judgement(Evaluation({"accuracy": 1.0}), "validation")
        train._finish(attempt, export.Exported(manifest, 1, judgement))

    monkeypatch.setattr(train, "_steps", steps)
    train.execute(runtime, task.id)
    session.expire_all()
    assert task.state == "stopped"
    assert session.scalars(select(Model.name)).all() == ([] if discard else ["first"])
    assert (store.stat(BUCKET, key) is None) is discard
