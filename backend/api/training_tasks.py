"""`/training-tasks` and `/algorithms`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response
from pydantic import Field

from backend.api.schemas import (
    Body,
    IdPage,
    NamePath,
    NewName,
    Out,
    Text1000,
    Typed,
    answer,
    blueprint,
    listing,
    next_cursor,
)
from backend.db import transaction
from backend.training import records
from backend.training import registry as tasks
from backend.training.launching import launch_task
from backend.training.tables import TrainingTask
from backend.views import runtime, workspace_id
from plugins import registry as plugins

bp = blueprint("training-tasks", __name__, "Training: tasks with their steps, logs and metrics")


class AlgorithmOut(Out):
    """One way to train; `parameters` describes each value it takes."""

    name: str
    title: str
    description: str
    dataset_type: str
    parameters: list[dict[str, Any]]


class AlgorithmPage(Out):
    """Algorithms of all plugins."""

    items: list[AlgorithmOut]
    next: str | None


class TaskIn(Body):
    """A new training task. Without `labels` it learns all of the dataset; `time_budget` is in seconds."""

    name: NewName
    dataset: Typed = Field(max_length=100)
    algorithm: Typed = Field(max_length=100)
    labels: list[str] = Field(default_factory=list, max_length=10_000)
    parameters: dict[str, Any] = Field(default_factory=dict)
    gpus: int = Field(0, ge=0, le=64)
    gpu_type: Typed = Field("", max_length=40, pattern=r"^[A-Za-z0-9-]*$")
    time_budget: int | None = Field(None, ge=10, le=7 * 24 * 3600)
    description: Text1000 = ""
    start_from: Typed = Field(
        tasks.CURRENT,
        min_length=1,
        max_length=30,
        description="`current`: the dataset's current model, where it fits; `scratch`; or a model's name.",
    )


class StepOut(Out):
    """A node of the task."""

    name: str
    state: str
    facts: dict[str, Any]
    started_at: datetime | None
    finished_at: datetime | None


class TaskOut(Out):
    """A training task. `note` says where it differs from what was asked for; `parent` is the model that was
    there to start from.
    """

    name: str
    description: str
    dataset: str
    algorithm: str
    labels: list[str]
    parameters: dict[str, Any]
    gpus: int
    gpu_type: str
    time_budget: int
    state: str
    attempt: int
    stop: str
    trained_seconds: float
    snapshot: str
    start_from: str
    parent: str
    note: str
    error_code: str
    error: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TaskDetail(TaskOut):
    """A training task with its steps."""

    steps: list[StepOut]


class TaskPage(Out):
    """Training tasks, newest first."""

    items: list[TaskOut]
    next: int | None


class LogQuery(IdPage):
    """Log lines after an id, of one step or of all."""

    step: str = Field("", max_length=20)


class LogOut(Out):
    """A log line."""

    id: int
    step: str
    at: datetime
    message: str


class LogPage(Out):
    """Log lines, oldest first; `next` is the id to go on after, also when nothing new is there."""

    items: list[LogOut]
    next: int | None


class MetricOut(Out):
    """One number of one moment."""

    id: int
    attempt: int
    step: str
    epoch: float
    name: str
    value: float
    at: datetime


class MetricPage(Out):
    """Metric rows, oldest first."""

    items: list[MetricOut]
    next: int | None


class EventOut(Out):
    """A change of state."""

    at: datetime
    attempt: int
    old: str
    new: str
    reason: str


class EventPage(Out):
    """Changes of state, oldest first."""

    items: list[EventOut]
    next: int | None


class StopIn(Body):
    """`discard` keeps nothing; without it the best model so far is kept."""

    discard: bool = False


def _out(task: TrainingTask) -> dict[str, Any]:
    values = {name: getattr(task, name) for name in TaskOut.model_fields if name != "dataset"}
    return values | {"dataset": task.dataset.name}


def _detail(name: str) -> TaskDetail:
    with runtime().sessions() as session:
        task = tasks.get(session, workspace_id(), name)
        rows = [StepOut.model_validate(step) for step in records.steps(session, task.id)]
        return TaskDetail(**_out(task), steps=rows)


@bp.get("/algorithms", responses={"200": AlgorithmPage}, summary="List algorithms")
def list_algorithms() -> Response:
    """Every way to train, with the parameters it takes."""
    items = [
        AlgorithmOut(
            name=algorithm.name,
            title=algorithm.title,
            description=algorithm.description,
            dataset_type=plugin.dataset_type,
            parameters=plugins.params_schema(algorithm),
        )
        for plugin in plugins.plugins()
        for algorithm in plugin.algorithms
    ]
    return listing(items, None)


@bp.post("/training-tasks", responses={"201": TaskDetail}, summary="Start a training task")
def create_task(body: TaskIn) -> Response:
    """The task is queued; ask for it again to see its state."""
    values = body.model_dump(exclude={"dataset", "time_budget"})
    budget = body.time_budget or runtime().settings.time_budget
    request = tasks.TaskRequest(**values, time_budget=budget)
    launch_task(runtime(), workspace_id(), body.dataset, request)
    return answer(_detail(body.name), 201)


@bp.get("/training-tasks", responses={"200": TaskPage}, summary="List training tasks")
def list_tasks(query: IdPage) -> Response:
    """Newest first."""
    with runtime().sessions() as session:
        rows = tasks.page(session, workspace_id(), after=query.after, limit=query.limit)
        items = [TaskOut(**_out(task)) for task in rows]
    return listing(items, next_cursor(rows, query.limit, "id"))


@bp.get("/training-tasks/<name>", responses={"200": TaskDetail}, summary="Show a training task")
def show_task(path: NamePath) -> Response:
    """With its steps and their facts."""
    return answer(_detail(path.name))


@bp.get("/training-tasks/<name>/logs", responses={"200": LogPage}, summary="Read a task's log")
def read_logs(path: NamePath, query: LogQuery) -> Response:
    """While it runs and afterwards; poll with `after` set to `next`."""
    with runtime().sessions() as session:
        task = tasks.get(session, workspace_id(), path.name)
        rows = records.logs(session, task.id, step=query.step, after=query.after, limit=query.limit)
    return listing([LogOut.model_validate(row) for row in rows], rows[-1].id if rows else query.after)


@bp.get("/training-tasks/<name>/metrics", responses={"200": MetricPage}, summary="Read a task's metrics")
def read_metrics(path: NamePath, query: IdPage) -> Response:
    """While it runs and afterwards; poll with `after` set to `next`."""
    with runtime().sessions() as session:
        task = tasks.get(session, workspace_id(), path.name)
        rows = records.metrics(session, task.id, after=query.after, limit=query.limit)
    return listing([MetricOut.model_validate(row) for row in rows], rows[-1].id if rows else query.after)


@bp.get("/training-tasks/<name>/events", responses={"200": EventPage}, summary="Read a task's events")
def read_events(path: NamePath) -> Response:
    """Every change of state with its reason."""
    with runtime().sessions() as session:
        task = tasks.get(session, workspace_id(), path.name)
        rows = records.events(session, task.id)
    return listing([EventOut.model_validate(row) for row in rows], None)


@bp.post("/training-tasks/<name>/stop", responses={"202": TaskDetail}, summary="Stop a training task")
def stop_task(path: NamePath, body: StopIn) -> Response:
    """Keeps the best model so far, or discards; refused for a task that has ended."""
    with transaction(runtime().sessions) as session:
        task = tasks.get(session, workspace_id(), path.name)
        tasks.request_stop(session, task, discard=body.discard)
    return answer(_detail(path.name), 202)
