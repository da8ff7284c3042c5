"""Signing in with a password or an API token, the session cookie, and the guard before every page.

The cookie is signed, not secret: it names the user and the workspace, or the token's row, and holds a part
of the hash of what is kept of the password or token. So sessions end when a password changes, and when a
token is revoked, expires or gets another text. What the user may do is read anew for every page.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta

from flask import Blueprint, Flask, Response, g, make_response, redirect, request, session, url_for
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.orm import Session

from backend.accounts import callers, ended, roles
from backend.accounts.callers import Caller
from backend.accounts.roles import Role
from backend.accounts.tables import User
from backend.console.page import bp as console
from backend.console.page import show
from backend.console.texts import text
from backend.datasets.links import base_url
from backend.db import transaction
from backend.errors import AppError, Unauthenticated
from backend.settings import Settings
from backend.views import runtime
from backend.workspaces import registry

bp = Blueprint("session", __name__)
csrf = CSRFProtect()
_LIFETIME = timedelta(days=7)
_PUBLIC = "console.session.sign_in"
# What a one-time password opens.
_CHANGE = "console.account.password"
_WITH_ONE_TIME = frozenset({_CHANGE, "console.account.change_password", "console.session.sign_out"})
# Where to go after signing in: a path of ours. A second slash or a backslash would lead to another host.
_OWN_PATH = re.compile(r"/(?:[A-Za-z0-9_?-][A-Za-z0-9_./?=&%-]*)?")


def install(app: Flask, settings: Settings) -> None:
    """Configure cookies and CSRF. The key is derived: what signs cookies opens no stored credential."""
    app.secret_key = hmac.digest(settings.secret_key.encode(), b"sightloop.console", hashlib.sha256)
    secure = base_url(settings).startswith("https://")
    app.config.update(
        # The prefix keeps whoever can only speak for http from setting it (RFC 6265bis, section 4.1.3.2).
        SESSION_COOKIE_NAME="__Host-sightloop" if secure else "sightloop",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=secure,
        PERMANENT_SESSION_LIFETIME=_LIFETIME,
        WTF_CSRF_CHECK_DEFAULT=False,  # the API has bearer tokens and no cookie; the guard asks for its pages
        WTF_CSRF_TIME_LIMIT=None,
    )
    csrf.init_app(app)


@console.before_request
def _guard() -> Response | None:
    """No page without a session; no change without the token of the form, or that the role may not make."""
    if request.endpoint == _PUBLIC:
        csrf.protect()
        return None
    with runtime().sessions() as rows:
        found = _caller(rows)
    if found is None:
        return _to(_PUBLIC, keep_address=True)
    g.caller = found
    if found.one_time and request.endpoint not in _WITH_ONE_TIME:
        return _to(_CHANGE)
    csrf.protect()
    if request.url_rule is not None:
        roles.require(found.role, request.method, request.url_rule.rule)
    return None


def _caller(rows: Session) -> Caller | None:
    """Whose session it is, if it still holds."""
    if "id" not in session or ended.has_ended(rows, session["id"]):
        return None
    if "user" in session:
        return callers.by_password(rows, session["user"], session["proof"], session["workspace"])
    return callers.by_kept_token(rows, session.get("token", 0), session.get("proof", ""))


def _to(endpoint: str, *, keep_address: bool = False) -> Response:
    back = request.full_path.rstrip("?") if request.method == "GET" else "/"
    if "HX-Request" in request.headers:  # a page that refreshes itself: the whole page is to change
        return Response(status=204, headers={"HX-Redirect": url_for(endpoint)})
    return make_response(redirect(url_for(endpoint, next=back if keep_address and back != "/" else None)))


@bp.get("/sign-in")
@bp.post("/sign-in")
def sign_in() -> Response:
    """Open a session with a name and password, or with an API token."""
    if request.method == "GET":
        return show("sign_in.html", refusal="", name="")
    form = request.form
    try:
        if "token" in form:
            _open_with_token(form["token"].strip())
        else:
            name, password = form.get("name", ""), form.get("password", "")
            sessions, address = runtime().sessions, request.remote_addr or ""
            open_for(callers.sign_in(sessions, runtime().redis, name, password, address))
    except AppError as error:
        return show("sign_in.html", error.status, refusal=str(error), name=form.get("name", ""))
    target = request.args.get("next", "/")
    return make_response(redirect(target if _OWN_PATH.fullmatch(target) else "/", 303))


def open_for(user: User, workspace_id: int = 0) -> None:
    """Begin the session of a user in this browser."""
    _begin()
    session["user"], session["proof"] = user.id, callers.proof_of(user.password_hash)
    session["workspace"] = workspace_id


def _begin() -> None:
    """Nothing of the session before, its form tokens included, goes on."""
    _end()
    session.permanent = True
    session["id"] = ended.new_id()


def _end() -> None:
    if "id" in session:
        with transaction(runtime().sessions) as rows:
            ended.end(rows, session["id"], _LIFETIME)
    session.clear()


def _open_with_token(token: str) -> None:
    with runtime().sessions() as rows:
        row = registry.token_of(rows, token)
    if row is None or row.role == Role.HOST:
        raise Unauthenticated(text("sign_in.refused"))
    _begin()
    session["token"], session["proof"] = row.id, callers.proof_of(row.sha256)


@bp.post("/sign-out")
def sign_out() -> Response:
    """End the session of this browser, and whatever copies of its cookie there are."""
    _end()
    return make_response(redirect(url_for(_PUBLIC), 303))
