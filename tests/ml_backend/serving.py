"""The app that the tests serve: the product's own, which waits less for a model."""

from __future__ import annotations

from flask import Flask

from ml_backend.app import create_app
from ml_backend.predicting import Bounds

MOST = 1000


def app() -> Flask:
    return create_app(bounds=Bounds(items=MOST, model_seconds=1.0))
