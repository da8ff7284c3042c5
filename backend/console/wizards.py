"""The forms that make something: a dataset, a training task, a service.

A refusal of the domain is shown as its sentence above the form, which keeps what was typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, make_response, redirect, request, url_for

from backend.console import services
from backend.console.page import show
from backend.console.texts import text
from backend.datasets import registry as datasets
from backend.datasets.tables import Dataset
from backend.datasets.types import has_classes
from backend.errors import AppError, InvalidRequest, QueueUnavailable
from backend.models import registry as models
from backend.queue import served_queues
from backend.services.deploying import deploy
from backend.training import devices
from backend.training.launching import launch_task
from backend.training.registry import CURRENT, SCRATCH, TaskRequest
from backend.views import runtime, workspace_id
from backend.workspaces import registry as workspaces
from plugins import registry as plugins
from plugins.contract import Algorithm

bp = Blueprint("wizards", __name__)
_MOST = 1000  # rows that a choice lists
_PARAMETER = "parameter."
_MOST_GPUS = 64


@bp.get("/new/dataset")
def dataset_form() -> Response:
    """Where the images lie, and what it is to be called."""
    return _dataset_form(request.args, "")


@bp.post("/new/dataset")
def create_dataset() -> Response:
    """The bucket must be there; its page then offers the first sync."""
    form = request.form
    wanted = datasets.DatasetRequest(
        *(form.get(name, "").strip() for name in ("name", "type", "path", "description"))
    )
    try:
        with runtime().sessions() as session:
            connection = workspaces.connection(session, workspace_id(), form.get("connection", ""))
        datasets.create(runtime().sessions, wanted, connection, runtime().store(connection), _types())
    except AppError as error:
        return _dataset_form(form, str(error), error.status)
    return make_response(redirect(url_for("console.datasets.detail", name=wanted.name), 303))


@bp.get("/new/task")
def task_form() -> Response:
    """First the dataset and the algorithm, then what that algorithm can be told."""
    return _task_form(request.args, "")


@bp.post("/new/task")
def create_task() -> Response:
    """The task is queued; its page shows how far it is. A form drawn for another dataset or algorithm than is
    chosen now is drawn again, as its parameters are not those.
    """
    form = request.form
    now = f"{form.get('dataset', '')}/{form.get('algorithm', '')}"
    if "choose" in form or form.get("drawn_for", now) != now:
        kept = {key: value for key, value in form.items() if not key.startswith(_PARAMETER)}
        return _task_form(kept, "" if "choose" in form else text("tasks.chosen_anew"))
    try:
        wanted = _task_request(form)
        launch_task(runtime(), workspace_id(), form.get("dataset", ""), wanted)
    except AppError as error:
        return _task_form(form, str(error), error.status)
    return make_response(redirect(url_for("console.tasks.detail", name=wanted.name), 303))


@bp.get("/new/service")
def service_form() -> Response:
    """Which model, under which name."""
    return _service_form(request.args, "")


@bp.post("/new/service")
def create_service() -> Response:
    """The new service's page shows its token this once, so there is no redirect."""
    form, name = request.form, request.form.get("name", "").strip()
    numbers = {key: form.get(key, 0, int) for key in ("instances", "quota")}
    try:
        token = deploy(runtime(), workspace_id(), name=name, model=form.get("model", ""), **numbers)
    except AppError as error:
        return _service_form(form, str(error), error.status)
    return services.page(name, token.text)


def _dataset_form(values: Mapping[str, str], refusal: str, status: int = 200) -> Response:
    with runtime().sessions() as session:
        connections = workspaces.connections(session, workspace_id())
    return show(
        "dataset_new.html",
        status,
        values=values,
        refusal=refusal,
        connections=[row.name for row in connections],
        types={plugin.dataset_type: plugin.title for plugin in plugins.plugins()},
    )


def _types() -> list[str]:
    return sorted({plugin.dataset_type for plugin in plugins.plugins()})


def _task_form(values: Mapping[str, str], refusal: str, status: int = 200) -> Response:
    with runtime().sessions() as session:
        rows = datasets.list_(session, workspace_id(), limit=_MOST)
        chosen = next((row for row in rows if row.name == values.get("dataset")), None)
        parents = models.of_dataset(session, chosen.id, limit=_MOST) if chosen else []
    offered = _algorithms(chosen)
    algorithm = next((one for one in offered if one.name == values.get("algorithm")), None)
    return show(
        "task_new.html",
        status,
        values=values,
        refusal=refusal,
        datasets=[row.name for row in rows],
        dataset=chosen,
        algorithms=offered,
        algorithm=algorithm,
        classes=bool(offered) and chosen is not None and has_classes(chosen.type),
        parameters=plugins.params_schema(algorithm) if algorithm else [],
        gpu_types=_gpu_types() if algorithm else None,
        starts=[CURRENT, SCRATCH, *(row.name for row in parents)],
        budget=values.get("minutes") or max(1, runtime().settings.time_budget // 60),
    )


def _gpu_types() -> list[str] | None:
    """The types of GPU to choose from; None when there is no GPU, or nobody knows."""
    try:
        return devices.gpu_types(served_queues(runtime().redis))
    except QueueUnavailable:
        return None


def _gpus(text_of_form: str) -> int:
    if not text_of_form.isdecimal() or int(text_of_form) > _MOST_GPUS:
        raise InvalidRequest(text("tasks.bad_gpus"))
    return int(text_of_form)


def _algorithms(dataset: Dataset | None) -> list[Algorithm]:
    return [
        algorithm
        for plugin in plugins.plugins()
        if dataset is not None and plugin.dataset_type == dataset.type
        for algorithm in plugin.algorithms
    ]


def _task_request(form: Mapping[str, Any]) -> TaskRequest:
    """Parameters are sent as text; empty ones keep their default."""
    try:
        seconds = round(60 * float(form.get("minutes", "")))
    except (ValueError, OverflowError):
        seconds = 0
    if not 10 <= seconds <= 7 * 24 * 3600:
        raise InvalidRequest(text("tasks.bad_minutes"))
    if len(form.get("description", "")) > datasets.MAX_DESCRIPTION:
        raise InvalidRequest(text("form.too_long"))
    parameters = {
        key.removeprefix(_PARAMETER): value.strip()
        for key, value in form.items()
        if key.startswith(_PARAMETER) and value.strip()
    }
    return TaskRequest(
        name=form.get("name", "").strip(),
        algorithm=form.get("algorithm", ""),
        parameters=parameters,
        time_budget=seconds,
        description=form.get("description", "").strip(),
        start_from=form.get("start_from", CURRENT),
        gpus=_gpus(form.get("gpus", "0")),
        gpu_type=form.get("gpu_type", ""),
        labels=sorted({line.strip() for line in form.get("labels", "").splitlines()} - {""}),
    )


def _service_form(values: Mapping[str, str], refusal: str, status: int = 200) -> Response:
    with runtime().sessions() as session:
        rows = models.page(session, workspace_id(), after=0, limit=_MOST)
    names = [row.name for row in rows]
    return show("service_new.html", status, values=values, refusal=refusal, models=names)
