"""The page of a workspace's members, where owners add people, choose roles and reset passwords."""

from __future__ import annotations

from flask import Blueprint, Response, request, url_for

from backend.accounts import registry
from backend.accounts.callers import runs_the_install
from backend.accounts.roles import MEMBERS
from backend.console.page import act, show
from backend.console.texts import text
from backend.db import transaction
from backend.errors import AppError, NotFound
from backend.views import caller, runtime, workspace_id

bp = Blueprint("members", __name__)
PAGE = 50


@bp.get("/members")
def index() -> Response:
    """By name."""
    return _page()


@bp.post("/members")
def add() -> Response:
    """A new user's one-time password is on this page and nowhere else, so there is no redirect."""
    form = request.form
    try:
        with transaction(runtime().sessions) as session:
            name, role = form.get("name", ""), form.get("role", "")
            operator = runs_the_install(session, caller())
            made = registry.add(session, workspace_id(), name, role, operator=operator)
    except AppError as error:
        return _page(refusal=str(error), status=error.status, typed=form.get("name", ""))
    return _page(made=made)


@bp.post("/members/<name>/role")
def change_role(name: str) -> Response:
    """Counts from the next page on."""
    role = request.form.get("role", "")

    def ask() -> str:
        with transaction(runtime().sessions) as session:
            registry.change_role(session, workspace_id(), name, role)
        return text("members.changed", name=name, role=role)

    return act(ask, url_for("console.members.index"))


@bp.post("/members/<name>/remove")
def remove(name: str) -> Response:
    """With the tokens that belong to the user here."""

    def ask() -> str:
        with transaction(runtime().sessions) as session:
            registry.remove(session, workspace_id(), name)
        return text("members.removed", name=name)

    return act(ask, url_for("console.members.index"))


@bp.post("/members/<name>/password")
def reset_password(name: str) -> Response:
    """The new one-time password is on this page and nowhere else, so there is no redirect."""
    try:
        with transaction(runtime().sessions) as session:
            made = registry.reset_password(session, workspace_id(), name, operator=caller().operator)
    except NotFound:
        raise
    except AppError as error:
        return _page(refusal=str(error), status=error.status)
    return _page(made=made)


def _page(
    *, made: registry.Invited | None = None, refusal: str = "", status: int = 200, typed: str = ""
) -> Response:
    after = request.args.get("after", "")
    with runtime().sessions() as session:
        rows = registry.members(session, workspace_id(), after=after, limit=PAGE)
    following = rows[-1].name if len(rows) == PAGE else ""
    values = {"rows": rows, "after": after, "following": following, "roles": list(MEMBERS)}
    return show("members.html", status, made=made, refusal=refusal, typed=typed, **values)
