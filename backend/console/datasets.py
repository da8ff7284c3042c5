"""Pages of datasets: list, detail with findings and gallery, and the operations on them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, request, url_for
from sqlalchemy.orm import Session

from backend.console import gallery
from backend.console.page import act, show
from backend.console.texts import text
from backend.datasets import operations, registry
from backend.datasets.findings import RULES
from backend.datasets.launching import launch_labeling, launch_operation
from backend.datasets.tables import Dataset
from backend.errors import InvalidRequest
from backend.label_studio import registry as labeling
from backend.views import runtime, workspace_id
from backend.workspaces import registry as workspaces

bp = Blueprint("datasets", __name__)
PAGE = 50
_OPERATIONS = 5
_KINDS = ("sync", "check", "label")


@bp.get("/datasets")
def index() -> Response:
    """By name."""
    after = request.args.get("after", "")
    with runtime().sessions() as session:
        rows = registry.list_(session, workspace_id(), limit=PAGE, after=after or None)
        states = registry.states(session, rows)
        counts = registry.image_counts(session, rows)
    following = rows[-1].name if len(rows) == PAGE else ""
    return show("datasets.html", rows=rows, states=states, counts=counts, after=after, following=following)


@bp.get("/datasets/<name>")
def detail(name: str) -> Response:
    """Numbers, findings, and a gallery that the query filters."""
    with runtime().sessions() as session:
        dataset = registry.get(session, workspace_id(), name)
        summary = registry.summary(session, dataset)
        values = {
            "summary": summary,
            "balance": gallery.balance(summary["classes"]),
            "labeling": labeling.state(session, runtime().settings, dataset),
            "shared": workspaces.are_several(session),
            **_progress(session, dataset),
            **_gallery(session, dataset),
        }
    return show("dataset.html", dataset=dataset, **values)


@bp.get("/datasets/<name>/images/<int:number>")
def image(name: str, number: int) -> Response:
    """One image with its label drawn on it, and what was found about it."""
    with runtime().sessions() as session:
        dataset = registry.get(session, workspace_id(), name)
        row = registry.image(session, dataset, number)
        found = registry.findings_of(session, dataset, [row]).get(row.key, [])
        titles = {code: rule.title for code, rule in RULES.items()}
        picture = gallery.picture(runtime().settings, dataset, row, found)
    return show("dataset_image.html", dataset=dataset, picture=picture, titles=titles)


@bp.get("/datasets/<name>/progress")
def progress(name: str) -> Response:
    """The part of the page that refreshes itself; when the work has ended, the whole page is read again."""
    with runtime().sessions() as session:
        dataset = registry.get(session, workspace_id(), name)
        values = _progress(session, dataset)
    if not values["busy"]:
        return make_response("", 200, {"HX-Refresh": "true"})
    return show("dataset_progress.html", dataset=dataset, **values)


@bp.post("/datasets/<name>/operations")
def operate(name: str) -> Response:
    """Start a sync, a check, or labeling."""
    kind = request.form.get("kind", "")

    def start() -> str:
        if kind not in _KINDS:
            raise InvalidRequest(text("datasets.unknown_kind"))
        if kind == "label":
            launch_labeling(runtime(), workspace_id(), name, [])
        else:
            launch_operation(runtime(), workspace_id(), name, kind)
        return text("datasets.started", kind=kind, name=name)

    return act(start, url_for("console.datasets.detail", name=name))


def _progress(session: Session, dataset: Dataset) -> dict[str, Any]:
    rows = operations.list_(session, dataset, limit=_OPERATIONS)
    return {
        "state": registry.state(session, dataset),
        "operations": rows,
        "busy": any(row.state in operations.ACTIVE for row in rows),
    }


def _gallery(session: Session, dataset: Dataset) -> dict[str, Any]:
    chosen = gallery.choice(request.args.to_dict())
    found = gallery.pictures(session, runtime().settings, dataset, chosen)
    others = []
    if chosen.finding and not chosen.after:
        others = list(registry.findings_without_image(session, dataset, chosen.finding, limit=gallery.PAGE))
    return {
        "pictures": found,
        "chosen": chosen,
        "conditions": gallery.CONDITIONS,
        "others": others,
        "following": found[-1].image.key if len(found) == gallery.PAGE else "",
    }
