"""gunicorn's configuration of the API under `sightloop up`, beside what its command line says."""

from __future__ import annotations

import importlib
from typing import Any


def on_starting(_server: Any) -> None:
    """Import the app once, before the workers fork: half the time to start, and its pages are shared.

    Only the import: what the app opens, each worker opens for itself.
    """
    importlib.import_module("backend.app")
