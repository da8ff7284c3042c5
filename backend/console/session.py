"""Signing in with an API token, the session cookie, and the guard before every page.

The cookie is signed, not secret: it names the token's row and holds a part of the hash of its hash, so a
session ends when its token is revoked, expires or gets another text.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import timedelta

from flask import Blueprint, Flask, Response, g, make_response, redirect, request, session, url_for
from flask_wtf.csrf import CSRFProtect

from backend.console.page import bp as console
from backend.console.page import runtime, show
from backend.console.texts import text
from backend.datasets.links import base_url
from backend.settings import Settings
from backend.workspaces import registry

bp = Blueprint("session", __name__)
csrf = CSRFProtect()
_LIFETIME = timedelta(days=7)
_PUBLIC = "console.session.sign_in"
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
    """No page without a session; no change without the token of the form."""
    if request.endpoint != _PUBLIC:
        with runtime().sessions() as rows:
            token = registry.token_of_session(rows, session.get("token", 0), session.get("proof", ""))
        if token is None:
            return _to_sign_in()
        g.workspace_id, g.token_id = token.workspace_id, token.id
    csrf.protect()
    return None


def _to_sign_in() -> Response:
    back = request.full_path.rstrip("?") if request.method == "GET" else "/"
    if "HX-Request" in request.headers:  # a page that refreshes itself: the whole page is to change
        return Response(status=204, headers={"HX-Redirect": url_for(_PUBLIC)})
    return make_response(redirect(url_for(_PUBLIC, next=back if back != "/" else None)))


@bp.get("/sign-in")
@bp.post("/sign-in")
def sign_in() -> Response:
    """Ask for an API token, and open a session with a valid one."""
    if request.method == "GET":
        return show("sign_in.html", refusal="")
    with runtime().sessions() as rows:
        token = registry.token_of(rows, request.form.get("token", "").strip())
    if token is None or token.role != "admin":
        return show("sign_in.html", 401, refusal=text("sign_in.refused"))
    session.clear()
    session.permanent = True
    session["token"], session["proof"] = token.id, registry.proof_of(token)
    target = request.args.get("next", "/")
    return make_response(redirect(target if _OWN_PATH.fullmatch(target) else "/", 303))


@bp.post("/sign-out")
def sign_out() -> Response:
    """End the session of this browser."""
    session.clear()
    return make_response(redirect(url_for(_PUBLIC), 303))
