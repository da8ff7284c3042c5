"""The start page of a workspace: what runs, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response

from backend.console.page import show
from backend.datasets import registry as datasets
from backend.datasets.tables import Dataset
from backend.models import registry as models
from backend.services import registry as services
from backend.training import registry as tasks
from backend.training.lifecycle import FINAL
from backend.version import VERSION
from backend.views import runtime, workspace_id

bp = Blueprint("home", __name__)
_SHOWN = 5


@bp.get("/")
def index() -> Response:
    """The newest of everything."""
    own, first = workspace_id(), {"after": 0, "limit": _SHOWN}
    with runtime().sessions() as session:
        found = datasets.list_(session, own, limit=_SHOWN)
        newest, trained = tasks.page(session, own, **first), models.page(session, own, **first)
        deployed = services.page(session, own, after="", limit=_SHOWN)
    training = any(task.state not in FINAL for task in newest)
    step = _next(found, bool(trained), bool(deployed), training=training)
    rows = {"datasets": found, "tasks": newest, "models": trained, "services": deployed}
    return show("home.html", **rows, step=step, version=VERSION)  # type: ignore[arg-type]


def _next(datasets: Sequence[Dataset], models: bool, services: bool, *, training: bool) -> str:
    """The first thing that is missing on the way from a bucket to a prediction."""
    if not datasets:
        return "dataset"
    if not models and not training and not any(dataset.synced_at for dataset in datasets):
        return "sync"
    if not models:
        return "wait" if training else "train"
    return "predict" if services else "deploy"
