"""Deleting datasets, models and services: a page that says what goes and what stays, and the button that does
it.
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, flash, make_response, redirect, request, url_for

from backend.console.page import show
from backend.console.texts import text
from backend.datasets import registry as datasets
from backend.datasets import removal as dataset_removal
from backend.db import transaction
from backend.errors import AppError, NotFound
from backend.models import registry as models
from backend.models import removal as model_removal
from backend.services import registry as services
from backend.services import tokens
from backend.views import runtime, workspace_id

bp = Blueprint("removing", __name__)


@bp.get("/datasets/<name>/delete")
def ask_about_dataset(name: str) -> Response:
    """What goes with it."""
    return _dataset(name)


@bp.post("/datasets/<name>/delete")
def delete_dataset(name: str) -> Response:
    """The list of datasets follows, or the sentence that says why not."""

    def delete() -> str:
        with_models = request.form.get("with_models") == "yes"
        gone = dataset_removal.delete(runtime(), workspace_id(), name, with_models=with_models)
        stays = text("delete.project_stays", url=gone.label_studio) if gone.label_studio else ""
        return f"{text('delete.dataset_gone', name=name)} {stays}".strip()

    return _deleted(delete, "console.datasets.index", _dataset, name)


@bp.get("/models/<name>/delete")
def ask_about_model(name: str) -> Response:
    """What goes with it."""
    return _model(name)


@bp.post("/models/<name>/delete")
def delete_model(name: str) -> Response:
    """The list of models follows, or the sentence that says why not."""

    def delete() -> str:
        model_removal.delete(runtime(), workspace_id(), name)
        return text("delete.model_gone", name=name)

    return _deleted(delete, "console.models.index", _model, name)


@bp.get("/services/<name>/delete")
def ask_about_service(name: str) -> Response:
    """Who could still be calling it."""
    return _service(name)


@bp.post("/services/<name>/delete")
def delete_service(name: str) -> Response:
    """The list of services follows, where it stands until its instances have ended; or why not."""

    def delete() -> str:
        with transaction(runtime().sessions) as session:
            services.delete(session, services.get(session, workspace_id(), name))
        return text("delete.service_goes", name=name)

    return _deleted(delete, "console.services.index", _service, name)


def _deleted(delete: Callable[[], str], listing: str, ask: Callable[..., Response], name: str) -> Response:
    """Delete and show the list with the sentence that `delete` gives; or ask again, with why not."""
    try:
        said = delete()
    except NotFound:
        raise
    except AppError as error:
        return ask(name, str(error), error.status)
    flash(said, "success")
    return make_response(redirect(url_for(listing), 303))


def _dataset(name: str, refusal: str = "", status: int = 200) -> Response:
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), name)
        found = dataset_removal.belongings(session, runtime().settings, dataset)
    return show("dataset_delete.html", status, dataset=dataset, found=found, refusal=refusal)


def _model(name: str, refusal: str = "", status: int = 200) -> Response:
    with runtime().sessions() as session:
        model = models.get(session, workspace_id(), name)
        current = models.current(session, model.dataset_id)
        rows = models.of_dataset(session, model.dataset_id, limit=_LOOKED_AT)
    good = [row.name for row in rows if not row.worse_than and row.id != model.id]
    return show(
        "model_delete.html",
        status,
        model=model,
        is_current=current is not None and current.id == model.id,
        following=good[0] if good else "",
        refusal=refusal,
    )


def _service(name: str, refusal: str = "", status: int = 200) -> Response:
    with runtime().sessions() as session:
        service = services.get(session, workspace_id(), name)
        known = len(tokens.of(session, service))
    return show("service_delete.html", status, service=service, tokens=known, refusal=refusal)


_LOOKED_AT = 1000  # models of one dataset
