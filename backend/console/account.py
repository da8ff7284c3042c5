"""Pages of one's own account: the password, API tokens, and in which workspace one works."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, Response, flash, make_response, redirect, request, session, url_for

from backend.accounts import callers, registry, tokens, workspaces
from backend.accounts.roles import MEMBERS, Role, may
from backend.accounts.tables import User
from backend.console.page import act, show
from backend.console.session import open_for
from backend.console.texts import text
from backend.db import transaction
from backend.errors import AppError, Forbidden, InvalidRequest, NotFound, WrongState
from backend.views import caller, runtime
from backend.workspaces.registry import OWN_TOKEN
from backend.workspaces.tables import DEFAULT_WORKSPACE

bp = Blueprint("account", __name__)
_LONGEST_DAYS = 3650


@bp.get("/account")
def index() -> Response:
    """Who one is here, and one's tokens."""
    return _page()


@bp.post("/account/workspace")
def switch() -> Response:
    """Work in another workspace from now on. A token is one of a workspace: its session stays there."""
    if caller().token_id is not None:
        raise WrongState(text("account.no_switch"))
    wanted = request.form.get("name", "")
    with runtime().sessions() as rows:
        own = registry.workspaces_of(rows, caller().user_id or 0)
    chosen = next((row for row in own if row.name == wanted), None)
    if chosen is None:
        raise NotFound(f"there is no workspace {wanted!r} that you are a member of")
    session["workspace"] = chosen.id
    return make_response(redirect("/", 303))


@bp.post("/account/workspaces")
def make_workspace() -> Response:
    """One more tenant of this install, which its maker owns; its first token is on this page, this once."""
    name = request.form.get("name", "").strip()
    try:
        with transaction(runtime().sessions) as rows:
            _, made = workspaces.create(rows, caller(), name)
    except AppError as error:
        return _page(refusal=str(error), status=error.status)
    flash(text("account.workspace_made", name=name), "success")
    return _page(token=made)


@bp.get("/account/password")
def password() -> Response:
    """The form that changes the password."""
    return show("password.html", refusal="")


@bp.post("/account/password")
def change_password() -> Response:
    """Other sessions of this user end; this one goes on."""
    try:
        user = _change_password(request.form)
    except AppError as error:
        return show("password.html", error.status, refusal=str(error))
    open_for(user, caller().workspace_id)
    flash(text("account.password_changed"), "success")
    return make_response(redirect("/", 303))


@bp.post("/account/tokens")
def add_token() -> Response:
    """The token's text is on this page and nowhere else, so there is no redirect."""
    form = request.form
    try:
        with transaction(runtime().sessions) as rows:
            made, _ = tokens.create(
                rows, caller(), form.get("name", "").strip(), role=_role(form), expires_in_days=_days(form)
            )
    except AppError as error:
        return _page(refusal=str(error), status=error.status)
    return _page(token=made)


@bp.post("/account/tokens/<name>/revoke")
def revoke_token(name: str) -> Response:
    """It stops working at once."""

    def ask() -> str:
        with transaction(runtime().sessions) as rows:
            tokens.revoke(rows, caller(), name)
        return text("account.revoked", name=name)

    return act(ask, url_for("console.account.index"))


def _page(*, token: str = "", refusal: str = "", status: int = 200) -> Response:
    with runtime().sessions() as rows:
        own = registry.workspaces_of(rows, caller().user_id or 0)
        known = tokens.visible(rows, caller())
    allowed = [role.value for role in MEMBERS if may(caller().role, role)]
    values = {"token": token, "refusal": refusal, "workspaces": own, "tokens": known, "roles": allowed}
    # Other workspaces begin with a token of that name, too, which no command line has been given.
    own_token = OWN_TOKEN if caller().workspace == DEFAULT_WORKSPACE else ""
    return show("account.html", status, own_token=own_token, **values)


def _change_password(form: Mapping[str, str]) -> User:
    """The present password is asked for like at signing in: a browser left open is not enough."""
    if caller().user_id is None:
        raise Forbidden(text("account.no_password"))
    new = form.get("new", "")
    if new != form.get("again", ""):
        raise InvalidRequest(text("account.not_the_same"))
    current, address = form.get("current", ""), request.remote_addr or ""
    if new == current:
        raise InvalidRequest(text("account.not_new"))
    callers.sign_in(runtime().sessions, runtime().redis, caller().name, current, address)
    with transaction(runtime().sessions) as rows:
        user = rows.get_one(User, caller().user_id)
        registry.change_password(user, new)
    return user


def _role(form: Mapping[str, str]) -> Role:
    role = form.get("role", "")
    if role not in MEMBERS:
        raise InvalidRequest(text("account.no_role"))
    return Role(role)


def _days(form: Mapping[str, str]) -> int | None:
    days = form.get("days", "").strip()
    if not days:
        return None
    if not days.isdecimal() or not 1 <= int(days) <= _LONGEST_DAYS:
        raise InvalidRequest(text("account.bad_days"))
    return int(days)
