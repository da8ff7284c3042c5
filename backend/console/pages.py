"""Puts the console together: its nouns under one parent, and the start page."""

from __future__ import annotations

from flask import Flask, Response
from jinja2 import StrictUndefined

from backend.console import assets, session
from backend.console.page import bp, show
from backend.settings import Settings
from backend.version import VERSION

_NOUNS = (session,)


def install(app: Flask, settings: Settings) -> None:
    """Put the console into an app."""
    app.extensions["sightloop.assets"] = assets.read()
    app.jinja_env.undefined = StrictUndefined
    session.install(app, settings)
    app.register_blueprint(assets.bp)
    app.register_blueprint(bp)


@bp.get("/")
def front() -> Response:
    """Where things are."""
    return show("front.html", version=VERSION)


for noun in _NOUNS:
    bp.register_blueprint(noun.bp)
