"""Puts the console together: its nouns under one parent."""

from __future__ import annotations

from flask import Flask
from jinja2 import StrictUndefined

from backend.console import (
    account,
    assets,
    authority,
    browsing,
    datasets,
    home,
    judging,
    members,
    models,
    observing,
    phone,
    removing,
    services,
    session,
    stores,
    tasks,
    trials,
    trying,
    wizards,
    wording,
)
from backend.console.page import as_page, bp
from backend.settings import Settings

_NOUNS = (
    browsing,
    session,
    account,
    members,
    home,
    datasets,
    tasks,
    models,
    trials,
    judging,
    services,
    stores,
    trying,
    observing,
    removing,
    wizards,
)


def install(app: Flask, settings: Settings) -> None:
    """Put the console into an app."""
    app.extensions["sightloop.assets"] = assets.read()
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.filters.update(
        when=wording.when,
        size=wording.size,
        duration=wording.duration,
        fact=wording.fact,
        percent=wording.percent,
        milliseconds=wording.milliseconds,
    )
    session.install(app, settings)
    app.register_blueprint(assets.bp)
    app.register_blueprint(authority.bp)
    app.register_blueprint(bp)
    phone.install(app)
    app.after_request(as_page)


for noun in _NOUNS:
    bp.register_blueprint(noun.bp)
