"""What every page has in common: who looks at it, headers, texts, addresses of assets, errors as a page."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import (
    Blueprint,
    Response,
    flash,
    g,
    make_response,
    redirect,
    render_template,
    request,
)
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from backend.console import assets
from backend.console.texts import text
from backend.errors import AppError, NotFound

# Nothing inline and nothing from elsewhere; `data:` is for the drawings within the stylesheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_PROBLEM = "application/problem+json"

# Endpoints that take files, with the bytes that they may have; all others read what the API reads at most.
LARGE_BODIES: dict[str, int] = {}

# The parent of the blueprints of all nouns: its guard, headers and errors are theirs.
bp = Blueprint("console", __name__, template_folder="templates")


def show(template: str, status: int = 200, **values: Any) -> Response:
    """A page."""
    return make_response(render_template(template, **values), status)


def act(work: Callable[[], str], back: str) -> Response:
    """Do something, then show the page `back` with the sentence that `work` gives, or why it was refused.

    What is not there (any more) stays a 404: its page cannot be shown.
    """
    try:
        flash(work(), "success")
    except NotFound:
        raise
    except AppError as error:
        flash(str(error), "danger")
    return make_response(redirect(back, HTTPStatus.SEE_OTHER))


@bp.before_request
def _limit_body() -> None:
    if request.endpoint in LARGE_BODIES:
        request.max_content_length = LARGE_BODIES[request.endpoint]


@bp.context_processor
def _shared() -> dict[str, object]:
    found = assets.installed()
    return {
        "t": text,
        "asset": found.url,
        "nouns": {
            "datasets": text("noun.datasets"),
            "tasks": text("noun.tasks"),
            "models": text("noun.models"),
            "services": text("noun.services"),
            "storage": text("noun.storage"),
            "members": text("noun.members"),
        },
        "assets_missing": bool(found.missing),
        "signed_in": "caller" in g,
        "me": g.get("caller"),
    }


@bp.after_request
def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def as_page(response: Response) -> Response:
    """An error of the edge as a page, where a browser asks outside of the API: at an unknown address, say."""
    if response.mimetype != _PROBLEM or request.path.startswith("/api/"):
        return response
    if request.accept_mimetypes.best_match((_PROBLEM, "text/html")) != "text/html":
        return response
    told, status = response.get_json(), response.status_code
    detail = told["detail"]
    if status == HTTPStatus.NOT_FOUND and request.url_rule is None:
        detail = text("error.no_page")
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        detail = text("error.unexpected", request=told["request_id"])
    response.set_data(render_template("error.html", title=told["title"], detail=detail, **_shared()))
    response.content_type = "text/html; charset=utf-8"
    return _protect(response)


@bp.errorhandler(AppError)
def _refused(error: AppError) -> Response:
    return show("error.html", error.status, title=error.title, detail=str(error))


@bp.errorhandler(HTTPException)
def _http(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    detail = text("error.form_expired") if isinstance(error, CSRFError) else error.description or error.name
    return show("error.html", error.code or 500, title=error.name, detail=detail)
