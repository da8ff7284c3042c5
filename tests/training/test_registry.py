"""Creating, stopping and losing training tasks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.errors import (
    InUse,
    InvalidRequest,
    NameTaken,
    NoSuchDevice,
    NotEnoughData,
    NotFound,
    UnknownAlgorithm,
    WrongState,
)
from backend.models import registry as models
from backend.models.tables import Model
from backend.training import records
from backend.training import registry as tasks
from backend.training.devices import Placement, place
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask
from plugins.contract import AttemptLost

REQUEST = TaskRequest(name="first", algorithm="classification-high-performance")
CPU = Placement("train")
S = TaskState


@pytest.fixture
def task(session: Session, dataset: Dataset) -> TrainingTask:
    return tasks.create(session, dataset, REQUEST, CPU)


def test_a_new_task_waits_with_four_steps_and_all_labels(session: Session, task: TrainingTask) -> None:
    assert (task.state, task.attempt, task.labels) == ("queued", 0, ["bolt", "nut"])
    names = [step.name for step in records.steps(session, task.id)]
    assert names == ["prepare", "train", "evaluate", "export"]


def test_labels_can_be_chosen(session: Session, dataset: Dataset) -> None:
    session.add(Image(dataset_id=dataset.id, key="parts/pin/1.jpg", etag="e", size=1, label="pin"))
    session.flush()
    task = tasks.create(session, dataset, replace(REQUEST, labels=["pin", "bolt"]), CPU)
    assert task.labels == ["bolt", "pin"]


def test_a_class_of_which_every_image_was_skipped_is_refused_at_once(
    session: Session, dataset: Dataset
) -> None:
    session.add(Image(dataset_id=dataset.id, key="parts/p.jpg", etag="e", size=1, label="pin", skipped=True))
    session.flush()
    assert tasks.create(session, dataset, REQUEST, CPU).labels == ["bolt", "nut"]
    with pytest.raises(NotEnoughData, match="no images labelled 'pin'"):
        tasks.create(session, dataset, replace(REQUEST, name="second", labels=["pin", "bolt"]), CPU)


@pytest.mark.parametrize(
    "change, refusal, sentence",
    [
        ({"name": "no spaces"}, InvalidRequest, "no spaces"),
        ({"algorithm": "magic"}, UnknownAlgorithm, "classification-high-performance"),
        ({"parameters": {"colour": "red"}}, InvalidRequest, "colour"),
        ({"labels": ["bolt"]}, NotEnoughData, "at least two labels"),
        ({"labels": ["bolt", "screw"]}, NotEnoughData, "'screw'"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    session: Session, dataset: Dataset, change: dict[str, object], refusal: type[Exception], sentence: str
) -> None:
    with pytest.raises(refusal, match=sentence):
        tasks.create(session, dataset, replace(REQUEST, **change), CPU)  # type: ignore[arg-type]


@pytest.fixture
def model(session: Session, task: TrainingTask) -> Model:
    """A model that the first task made."""
    advance(session, task.id, S.QUEUED, S.STOPPING)
    advance(session, task.id, S.STOPPING, S.STOPPED)
    row = Model(
        workspace_id=task.workspace_id,
        task_id=task.id,
        dataset_id=task.dataset_id,
        name="first",
        plugin="classification",
        algorithm=task.algorithm,
        digest="d" * 64,
        size=1,
        labels=task.labels,
        metrics={},
        facts={},
        snapshot="e" * 64,
    )
    session.add(row)
    session.flush()
    return row


def test_a_training_starts_from_the_current_model_unless_told_otherwise(
    session: Session, dataset: Dataset, model: Model
) -> None:
    names = {"second": "current", "third": "scratch", "fourth": "first"}
    for name, start in names.items():
        request = replace(REQUEST, name=name)
        task = tasks.create(
            session, dataset, request if start == "current" else replace(request, start_from=start), CPU
        )
        assert (task.start_from, task.parent, task.parent_digest) == (start, "", "")


@pytest.mark.parametrize(
    "change, refusal, sentence",
    [
        ({"start_from": "nobody"}, NotFound, "no model 'nobody' to start from"),
        ({"name": "scratch"}, InvalidRequest, "--start-from scratch"),
        ({"name": "current"}, InvalidRequest, "--start-from current"),
    ],
)
def test_a_start_that_there_is_not_is_refused(
    session: Session, dataset: Dataset, change: dict[str, str], refusal: type[Exception], sentence: str
) -> None:
    with pytest.raises(refusal, match=sentence):
        tasks.create(session, dataset, replace(REQUEST, **change), CPU)  # type: ignore[arg-type]


def test_a_model_of_another_algorithm_cannot_be_the_start(
    session: Session, dataset: Dataset, model: Model
) -> None:
    model.algorithm = "classification-high-precision"
    with pytest.raises(InvalidRequest, match="was trained with classification-high-precision"):
        tasks.create(session, dataset, replace(REQUEST, name="second", start_from="first"), CPU)


@pytest.mark.parametrize("column", ["start_from", "parent"])
def test_a_model_stays_while_a_training_starts_from_it(
    session: Session, dataset: Dataset, model: Model, column: str
) -> None:
    task = tasks.create(session, dataset, replace(REQUEST, name="second"), CPU)
    setattr(task, column, "first")
    session.flush()
    with pytest.raises(InUse, match="second starts from model 'first'"):
        models.delete(session, model)
    tasks.request_stop(session, task, discard=True)
    models.delete(session, model)


def test_a_name_is_taken_once(session: Session, dataset: Dataset, task: TrainingTask) -> None:
    with pytest.raises(NameTaken, match="'first'"):
        tasks.create(session, dataset, REQUEST, CPU)


def test_a_dataset_that_was_never_synced_is_refused(session: Session, dataset: Dataset) -> None:
    dataset.synced_at = None
    with pytest.raises(NotEnoughData, match="sightloop datasets sync parts"):
        tasks.create(session, dataset, REQUEST, CPU)


def test_the_task_of_another_workspace_is_not_found(session: Session, task: TrainingTask) -> None:
    with pytest.raises(NotFound):
        tasks.get(session, task.workspace_id + 1, task.name)


def test_a_queued_task_stops_at_once(session: Session, task: TrainingTask) -> None:
    tasks.request_stop(session, task, discard=False)
    session.refresh(task)
    assert task.state == "stopped"


def test_a_running_task_is_asked_to_stop(session: Session, task: TrainingTask) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    advance(session, task.id, S.PREPARING, S.TRAINING)
    session.refresh(task)
    tasks.request_stop(session, task, discard=True)
    session.refresh(task)
    assert (task.state, task.stop) == ("stopping", "discard")
    assert records.beat(session, task.id, 1) == "discard"


def test_keeping_can_still_become_discarding(session: Session, task: TrainingTask) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    session.refresh(task)
    tasks.request_stop(session, task, discard=False)
    session.refresh(task)
    tasks.request_stop(session, task, discard=True)
    session.refresh(task)
    assert task.stop == "discard"


def test_a_finished_task_cannot_be_stopped(session: Session, task: TrainingTask) -> None:
    tasks.fail(session, task, "x", "y")
    session.refresh(task)
    with pytest.raises(WrongState, match="has already failed"):
        tasks.request_stop(session, task, discard=False)


def test_a_lost_worker_puts_the_task_back_and_fences_itself_off(session: Session, task: TrainingTask) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    session.refresh(task)
    assert tasks.lose(session, task, "gone")
    session.refresh(task)
    assert task.state == "queued"
    with pytest.raises(AttemptLost):
        records.beat(session, task.id, 1)
    advance(session, task.id, S.QUEUED, S.PREPARING)
    with pytest.raises(AttemptLost):
        records.beat(session, task.id, 1)
    assert records.beat(session, task.id, 2) == ""


def test_after_many_lost_workers_the_task_fails(session: Session, task: TrainingTask) -> None:
    for _ in range(tasks.MAX_ATTEMPTS):
        advance(session, task.id, S.QUEUED, S.PREPARING)
        session.refresh(task)
        tasks.lose(session, task, "gone")
        session.refresh(task)
    assert (task.state, task.error_code) == ("failed", "worker_lost")


def test_a_worker_that_is_shut_down_in_order_counts_for_nothing(session: Session, task: TrainingTask) -> None:
    for _ in range(3 * tasks.MAX_ATTEMPTS):
        advance(session, task.id, S.QUEUED, S.PREPARING)
        session.refresh(task)
        assert tasks.lose(session, task, tasks.SHUT_DOWN)
        session.refresh(task)
    for lost in range(1, tasks.MAX_ATTEMPTS + 1):
        advance(session, task.id, S.QUEUED, S.PREPARING)
        session.refresh(task)
        assert tasks.lose(session, task, "gone") is (lost < tasks.MAX_ATTEMPTS)
        session.refresh(task)
    assert task.error == f"the worker was lost {tasks.MAX_ATTEMPTS} times, the last time: gone"


@pytest.mark.parametrize("discard, seconds", [(True, 0.0), (True, 60.0), (False, 0.0)])
def test_a_task_that_loses_its_worker_while_stopping_is_stopped_if_nothing_is_to_be_kept(
    session: Session, task: TrainingTask, discard: bool, seconds: float
) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    session.refresh(task)
    task.trained_seconds = seconds
    tasks.request_stop(session, task, discard=discard)
    session.refresh(task)
    assert not tasks.lose(session, task, "the worker was lost")
    session.refresh(task)
    assert (task.state, task.error_code) == ("stopped", "")


def test_a_task_that_loses_its_worker_while_it_keeps_the_best_model_gets_another(
    session: Session, task: TrainingTask
) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    session.refresh(task)
    task.trained_seconds = 60.0
    tasks.request_stop(session, task, discard=False)
    session.refresh(task)
    assert tasks.lose(session, task, "the worker was lost")
    session.refresh(task)
    assert (task.state, task.stop) == ("queued", "keep")


@pytest.mark.parametrize("discard, state", [(False, "queued"), (True, "stopped")])
def test_a_task_that_waits_again_and_is_stopped_keeps_what_it_has_learned(
    session: Session, task: TrainingTask, discard: bool, state: str
) -> None:
    advance(session, task.id, S.QUEUED, S.PREPARING)
    session.refresh(task)
    task.trained_seconds = 60.0
    assert tasks.lose(session, task, "the worker was lost")
    session.refresh(task)
    tasks.request_stop(session, task, discard=discard)
    session.refresh(task)
    assert task.state == state
    if not discard:  # who has changed his mind does not wait for a worker
        tasks.request_stop(session, task, discard=True)
        session.refresh(task)
        assert task.state == "stopped"


def test_without_any_gpu_the_cpu_is_used_and_said() -> None:
    placement = place(1, "a100", {"train", "data"})
    assert placement.queue == "train"
    assert "CPU" in placement.note


def test_a_gpu_is_found_by_its_type() -> None:
    served = {"train", "train-gpu", "train-gpu-a100"}
    assert place(1, "A100", served) == Placement("train-gpu-a100")
    assert place(1, "", served) == Placement("train-gpu")
    assert place(0, "", served) == Placement("train")
    with pytest.raises(NoSuchDevice, match="the types are a100"):
        place(1, "h100", served)
