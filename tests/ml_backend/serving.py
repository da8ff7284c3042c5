"""The app that the tests serve: the product's own, for fewer items at a time."""

from __future__ import annotations

from flask import Flask

from ml_backend.app import create_app
from ml_backend.predicting import Bounds

MOST = 1000


def app() -> Flask:
    return create_app(bounds=Bounds(items=MOST))


def hasty() -> Flask:
    """Waits a second for a model."""
    return create_app(bounds=Bounds(items=MOST, model_seconds=1.0))
