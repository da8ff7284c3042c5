"""What a view of the REST API or of the console asks of the app that runs it."""

from __future__ import annotations

from flask import current_app, g

from backend.accounts.callers import Caller
from backend.runtime import Runtime


def runtime() -> Runtime:
    """The runtime of the running app."""
    found: Runtime = current_app.extensions["sightloop"]
    return found


def caller() -> Caller:
    """Who asks: with a token, or signed in."""
    found: Caller = g.caller
    return found


def workspace_id() -> int:
    """The workspace of whoever asks."""
    return caller().workspace_id
