"""Training tasks as the API sees them: create, find, stop; and what happens when a worker is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.datasets.types import has_classes
from backend.db import now
from backend.errors import (
    InvalidRequest,
    NameTaken,
    NotEnoughData,
    NotFound,
    UnknownAlgorithm,
    WorkerLost,
    WrongState,
)
from backend.models.tables import Model
from backend.names import check_name
from backend.training.devices import Placement
from backend.training.lifecycle import ACTIVE, FINAL, TaskState, advance
from backend.training.tables import TaskEvent, TaskStep, TrainingTask
from plugins import registry
from plugins.contract import PluginError

STEPS = ("prepare", "train", "evaluate", "export")
MAX_ATTEMPTS = 5  # those that an orderly end of their worker has cut short are not counted
SHUT_DOWN = "its worker was shut down"
CURRENT, SCRATCH = "current", "scratch"


@dataclass(frozen=True)
class TaskRequest:
    """What a user asks for. `labels` empty means all of the dataset; `time_budget` in seconds. `start_from`
    is `current` (the dataset's current model, where it fits), `scratch` (the pretrained weights) or the name
    of a model.
    """

    name: str
    algorithm: str
    labels: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    gpus: int = 0
    gpu_type: str = ""
    time_budget: int = 600
    description: str = ""
    start_from: str = CURRENT


def create(session: Session, dataset: Dataset, request: TaskRequest, placement: Placement) -> TrainingTask:
    """A new task in `queued`.

    Raises `NameTaken`, `UnknownAlgorithm`, `InvalidRequest` (parameters, the model to start from),
    `NotFound` (that model), `NotEnoughData` (labels).
    """
    check_name(request.name, "training task")
    if request.name in (CURRENT, SCRATCH):
        raise InvalidRequest(f"`--start-from {request.name}` names no model; choose another name")
    _require_free_name(session, dataset.workspace_id, request.name)
    _check_algorithm(request, dataset)
    _check_start(session, dataset, request)
    labels = _choose_labels(session, dataset, request.labels)
    task = TrainingTask(
        workspace_id=dataset.workspace_id,
        dataset_id=dataset.id,
        name=request.name,
        description=request.description,
        algorithm=request.algorithm,
        parameters=dict(request.parameters),
        labels=labels,
        gpus=request.gpus,
        gpu_type=request.gpu_type,
        queue=placement.queue,
        note=placement.note,
        time_budget=request.time_budget,
        start_from=request.start_from,
    )
    session.add(task)
    session.flush()
    session.add_all(TaskStep(task_id=task.id, name=name) for name in STEPS)
    return task


def time_left(task: TrainingTask) -> float | None:
    """Seconds of training that are left at most; it ends sooner when nothing improves any more. None while
    the task does not train.
    """
    if task.state != TaskState.TRAINING or task.stop:
        return None
    return max(0.0, task.time_budget - task.trained_seconds)


def ahead(session: Session, task: TrainingTask) -> int:
    """How many tasks the workers of its queue take before this one, which waits; those that run included."""
    before = TrainingTask.queue == task.queue, TrainingTask.id < task.id
    statement = select(func.count()).where(*before, TrainingTask.state.not_in([s.value for s in FINAL]))
    return session.scalar(statement) or 0


def _require_free_name(session: Session, workspace_id: int, name: str) -> None:
    for table, kind in ((TrainingTask, "training task"), (Model, "model")):
        taken = exists().where(table.workspace_id == workspace_id, table.name == name)
        if session.scalar(select(taken)):
            raise NameTaken(f"there is a {kind} named {name!r} already; choose another name")


def _check_algorithm(request: TaskRequest, dataset: Dataset) -> None:
    offered = [a.name for plugin in registry.plugins() for a in plugin.algorithms]
    if request.algorithm not in offered:
        raise UnknownAlgorithm(
            f"there is no algorithm {request.algorithm!r}; choose one of {', '.join(sorted(offered))}"
        )
    plugin, algorithm = registry.algorithm(request.algorithm)
    if plugin.dataset_type != dataset.type:
        raise UnknownAlgorithm(
            f"{request.algorithm} trains datasets of type {plugin.dataset_type}, and {dataset.name!r} is of "
            f"type {dataset.type}"
        )
    try:
        registry.parse_params(algorithm, request.parameters)
    except PluginError as error:
        raise InvalidRequest(str(error)) from None


def _check_start(session: Session, dataset: Dataset, request: TaskRequest) -> None:
    if request.start_from in (CURRENT, SCRATCH):
        return
    model = session.scalar(
        select(Model).where(Model.workspace_id == dataset.workspace_id, Model.name == request.start_from)
    )
    if model is None:
        raise NotFound(
            f"there is no model {request.start_from!r} to start from; `sightloop models list` shows all"
        )
    if model.algorithm != request.algorithm:
        raise InvalidRequest(
            f"model {model.name!r} was trained with {model.algorithm} and cannot start a training with "
            f"{request.algorithm}; choose that algorithm, or another model to start from"
        )


def _choose_labels(session: Session, dataset: Dataset, wanted: Sequence[str]) -> list[str]:
    if dataset.synced_at is None:
        raise NotEnoughData(
            f"dataset {dataset.name!r} was never synced; run `sightloop datasets sync {dataset.name}` first"
        )
    if not has_classes(dataset.type):
        _require_text(session, dataset, wanted)
        return []
    present = set(
        session.scalars(
            select(Image.label)
            .where(
                Image.dataset_id == dataset.id,
                Image.state == "present",
                Image.label.is_not(None),
                Image.skipped.is_(False),
            )
            .distinct()
        )
    )
    known = sorted(label for label in present if label is not None)
    if unknown := sorted(set(wanted) - set(known)):
        raise NotEnoughData(
            f"dataset {dataset.name!r} has no images labelled {', '.join(map(repr, unknown))}; "
            f"its labels are {', '.join(known) or 'none'}"
        )
    chosen = sorted(set(wanted)) or known
    if len(chosen) < 2:
        raise NotEnoughData(
            f"training needs at least two labels, and there is {len(chosen) or 'none'}: "
            f"{', '.join(chosen) or 'the dataset has no labelled images'}. Put the images of each class into "
            "a folder of its own and sync again"
        )
    return chosen


def _require_text(session: Session, dataset: Dataset, wanted: Sequence[str]) -> None:
    if wanted:
        raise InvalidRequest(f"dataset {dataset.name!r} has text, not classes: leave out the labels")
    known = Image.state == "present", Image.regions.is_not(None), Image.skipped.is_(False)
    if session.scalar(select(Image.id).where(Image.dataset_id == dataset.id, *known).limit(1)) is None:
        raise NotEnoughData(
            f"no image of dataset {dataset.name!r} has text regions: label it with `sightloop datasets label "
            f"{dataset.name}`, or put VOC or PPOCRLabel files beside the images and sync it"
        )


def get(session: Session, workspace_id: int, name: str) -> TrainingTask:
    """The task of that name. Raises `NotFound`."""
    task = session.scalar(
        select(TrainingTask).where(TrainingTask.workspace_id == workspace_id, TrainingTask.name == name)
    )
    if task is None:
        raise NotFound(f"there is no training task {name!r}; `sightloop tasks list` shows all")
    return task


def page(session: Session, workspace_id: int, *, after: int, limit: int) -> list[TrainingTask]:
    """Tasks, newest first; `after` is the id of the last one seen, 0 for the first page."""
    statement = select(TrainingTask).where(TrainingTask.workspace_id == workspace_id)
    if after:
        statement = statement.where(TrainingTask.id < after)
    return list(session.scalars(statement.order_by(TrainingTask.id.desc()).limit(limit)))


def request_stop(session: Session, task: TrainingTask, *, discard: bool) -> None:
    """Ask to stop: keep the best model so far, or discard. A queued task is stopped at once, unless it has
    trained before its worker was lost and that is to be kept: then it waits for one more attempt, which makes
    a model of it.

    Raises `WrongState` for a task that has ended.
    """
    state = TaskState(task.state)
    if state in FINAL:
        raise WrongState(f"training task {task.name!r} has already {_ended(state)}; there is nothing to stop")
    stop = "discard" if discard else "keep"
    session.execute(update(TrainingTask).where(TrainingTask.id == task.id).values(stop=stop))
    reason = f"stop and {stop} asked for"
    if state is not TaskState.STOPPING and not advance(
        session, task.id, state, TaskState.STOPPING, reason=reason
    ):
        raise WrongState(f"training task {task.name!r} has just changed its state; try again")
    if state is not TaskState.QUEUED:
        return
    if task.trained_seconds and not discard:
        reason = "it waits for a worker to make a model of what it has learned"
        advance(session, task.id, TaskState.STOPPING, TaskState.QUEUED, reason=reason)
        return
    advance(session, task.id, TaskState.STOPPING, TaskState.STOPPED, reason="it did not run")


def _ended(state: TaskState) -> str:
    return {"succeeded": "succeeded", "stopped": "been stopped", "failed": "failed"}[state.value]


def fail(
    session: Session, task: TrainingTask, code: str, message: str, *, attempt: int | None = None
) -> bool:
    """Put the task to `failed` from whatever state it is in, unless it has ended or `attempt` is late."""
    state = TaskState(task.state)
    if state in FINAL or not advance(
        session, task.id, state, TaskState.FAILED, reason=f"{code}: {message}", attempt=attempt
    ):
        return False
    session.execute(
        update(TrainingTask).where(TrainingTask.id == task.id).values(error_code=code, error=message)
    )
    _end_steps(session, task.id, "failed")
    return True


def lose(session: Session, task: TrainingTask, reason: str) -> bool:
    """The worker of this attempt is gone: back to the queue, or to an end when that makes no sense. The
    reason is `SHUT_DOWN` when it was told to drop its job.

    True when the task is queued again.
    """
    state = TaskState(task.state)
    if state is TaskState.STOPPING and (task.stop == "discard" or not task.trained_seconds):
        advance(session, task.id, state, TaskState.STOPPED, reason=f"{reason} while stopping")
        _end_steps(session, task.id, "stopped")
        return False
    if reason != SHUT_DOWN and task.attempt - _shut_down(session, task) >= MAX_ATTEMPTS:
        fail(
            session,
            task,
            WorkerLost.code,
            f"the worker was lost {MAX_ATTEMPTS} times, the last time: {reason}",
        )
        return False
    return advance(session, task.id, state, TaskState.QUEUED, reason=reason, attempt=task.attempt)


def _shut_down(session: Session, task: TrainingTask) -> int:
    """How many attempts have ended with an orderly end of their worker."""
    ended = TaskEvent.task_id == task.id, TaskEvent.reason == SHUT_DOWN
    return session.scalar(select(func.count()).where(*ended)) or 0


def _end_steps(session: Session, task_id: int, state: str) -> None:
    session.execute(
        update(TaskStep)
        .where(TaskStep.task_id == task_id, TaskStep.state == "running")
        .values(state=state, finished_at=now())
    )


def active(session: Session) -> list[TrainingTask]:
    """Every task that a worker should be working on."""
    return list(
        session.scalars(select(TrainingTask).where(TrainingTask.state.in_([s.value for s in ACTIVE])))
    )


def unfinished(session: Session, ids: Sequence[int]) -> set[int]:
    """Those of these tasks that there are and that have not ended."""
    ended = [state.value for state in FINAL]
    found = select(TrainingTask.id).where(TrainingTask.id.in_(ids), TrainingTask.state.not_in(ended))
    return set(session.scalars(found))


def waiting(session: Session, *, older_than: timedelta) -> list[TrainingTask]:
    """Queued tasks whose newest event (or creation) is older than that: their job may have got lost."""
    before = now() - older_than
    return list(
        session.scalars(
            select(TrainingTask).where(
                TrainingTask.state == TaskState.QUEUED.value, TrainingTask.created_at < before
            )
        )
    )
