"""The pages that need no account, and what every page has in common: headers, texts, addresses of assets."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, make_response, render_template
from jinja2 import StrictUndefined

from backend.console import assets
from backend.console.texts import text
from backend.version import VERSION

bp = Blueprint("console", __name__, template_folder="templates")

# Nothing inline and nothing from elsewhere; `data:` is for the drawings within the stylesheet.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def install(app: Flask) -> None:
    """Put the console into an app."""
    app.extensions["sightloop.assets"] = assets.read()
    app.jinja_env.undefined = StrictUndefined
    app.register_blueprint(assets.bp)
    app.register_blueprint(bp)


@bp.context_processor
def _shared() -> dict[str, object]:
    found = assets.installed()
    return {"t": text, "asset": found.url, "assets_missing": bool(found.missing)}


@bp.after_request
def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "same-origin"
    return response


@bp.get("/")
def front() -> Response:
    """Where things are; shows nothing of the data."""
    return make_response(render_template("front.html", version=VERSION))
