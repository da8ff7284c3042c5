"""Pages of training tasks: list, detail with steps, curves and log, stop."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, request, url_for

from backend.console import drawing
from backend.console.page import act, show
from backend.console.texts import text
from backend.db import transaction
from backend.training import records, registry
from backend.training.lifecycle import FINAL, TaskState
from backend.views import runtime, workspace_id

bp = Blueprint("tasks", __name__)
PAGE = 50
_LINES = 200  # of the log
_METRICS = 20_000


@bp.get("/tasks")
def index() -> Response:
    """Newest first."""
    after = request.args.get("after", 0, int)
    with runtime().sessions() as session:
        rows = registry.page(session, workspace_id(), after=after, limit=PAGE)
        names = {row.id: row.dataset.name for row in rows}
    following = rows[-1].id if len(rows) == PAGE else 0
    return show("tasks.html", rows=rows, names=names, after=after, following=following)


@bp.get("/tasks/<name>")
def detail(name: str) -> Response:
    """With its steps, curves and log."""
    return show("task.html", **_values(name))


@bp.get("/tasks/<name>/live")
def live(name: str) -> Response:
    """The part of the page that refreshes itself while the task runs; a page that took it for running is read
    again as a whole when it has ended.
    """
    values = _values(name)
    if values["ended"] and "running" in request.args:
        return make_response("", 200, {"HX-Refresh": "true"})
    return show("task_live.html", **values)


@bp.post("/tasks/<name>/stop")
def stop(name: str) -> Response:
    """Keeps the best model so far, or discards it."""
    discard = request.form.get("discard") == "yes"

    def ask() -> str:
        with transaction(runtime().sessions) as session:
            registry.request_stop(session, registry.get(session, workspace_id(), name), discard=discard)
        return text("tasks.discarding", name=name) if discard else text("tasks.stopping", name=name)

    return act(ask, url_for("console.tasks.detail", name=name))


def _values(name: str) -> dict[str, Any]:
    step = request.args.get("step", "")
    with runtime().sessions() as session:
        task = registry.get(session, workspace_id(), name)
        return {
            "task": task,
            "time_left": registry.time_left(task),
            "ahead": registry.ahead(session, task) if task.state == TaskState.QUEUED else 0,
            "dataset": task.dataset.name,
            "steps": records.steps(session, task.id),
            "step": step,
            "log": records.last_logs(session, task.id, step=step, limit=_LINES),
            "curves": drawing.curves(
                row
                for row in records.points(session, task.id, limit=_METRICS)
                if not row.name.endswith("time_left")  # it falls by the clock: the page tells it in words
            ),
            "ended": task.state in FINAL,
        }
