"""Pages of storage connections: list, make, test, other credentials, delete. Secrets are never shown."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, make_response, redirect, request, url_for

from backend.console.page import act, show
from backend.console.texts import text
from backend.db import transaction
from backend.errors import AppError
from backend.storage import ADDRESSINGS
from backend.views import runtime, workspace_id
from backend.workspaces import connecting, registry
from backend.workspaces.registry import ConnectionRequest

bp = Blueprint("stores", __name__)
_FIELDS = ("name", "endpoint", "region", "addressing", "public_endpoint")
_SECRETS = ("access_key", "secret_key")


@bp.get("/storage")
def index() -> Response:
    """By name, with the number of datasets that read through each."""
    with runtime().sessions() as session:
        rows = registry.connections(session, workspace_id())
        users = registry.connection_users(session, rows)
    return show("stores.html", rows=rows, users=users, after="", following="")


@bp.get("/storage/<name>")
def detail(name: str) -> Response:
    """What is known of it, and what can be done with it."""
    with runtime().sessions() as session:
        row = registry.connection(session, workspace_id(), name)
        users = registry.connection_users(session, [row])
    built_in = connecting.is_built_in(runtime(), row)
    return show("store.html", store=row, users=users.get(row.id, []), built_in=built_in)


@bp.get("/new/storage")
def form() -> Response:
    """Which store, and who asks it."""
    return _form({}, "")


@bp.post("/new/storage")
def create() -> Response:
    """The store must answer with these credentials, else nothing is saved."""
    given = {name: request.form.get(name, "").strip() for name in (*_FIELDS, *_SECRETS)}
    try:
        connecting.connect(runtime(), workspace_id(), ConnectionRequest(**given))
    except AppError as error:
        return _form(given, str(error), error.status)
    return make_response(redirect(url_for("console.stores.detail", name=given["name"]), 303))


@bp.post("/storage/<name>/test")
def test(name: str) -> Response:
    """Ask the store now."""

    def ask() -> str:
        connecting.test(runtime(), workspace_id(), name)
        return text("stores.works", name=name)

    return act(ask, url_for("console.stores.detail", name=name))


@bp.post("/storage/<name>/credentials")
def change(name: str) -> Response:
    """Other credentials, tested first."""
    given = {key: request.form.get(key, "").strip() for key in _SECRETS}

    def save() -> str:
        connecting.change_credentials(runtime(), workspace_id(), name, **given)
        return text("stores.changed", name=name)

    return act(save, url_for("console.stores.detail", name=name))


@bp.post("/storage/<name>/delete")
def delete(name: str) -> Response:
    """Refused while a dataset reads through it."""

    def forget() -> str:
        with transaction(runtime().sessions) as session:
            registry.delete_connection(session, registry.connection(session, workspace_id(), name))
        return text("stores.deleted", name=name)

    return act(forget, url_for("console.stores.index"))


def _form(values: Mapping[str, str], refusal: str, status: int = 200) -> Response:
    kept = {name: value for name, value in values.items() if name != "secret_key"}
    return show("store_new.html", status, values=kept, refusal=refusal, addressings=ADDRESSINGS)
