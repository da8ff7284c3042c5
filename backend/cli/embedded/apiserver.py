"""gunicorn's configuration of the API under `sightloop up`, beside what its command line says."""

from __future__ import annotations

import importlib
from typing import Any

# By its name: the stack runs the model server's modules and imports none of them.
worker_class = "model_server.worker.PatientWorker"

HEAD_SECONDS = 20.0
"""What a client has for the TLS handshake and the head of a request, all in all."""
STALL_SECONDS = 60.0
"""How long one piece of a body or of an answer may take to come or go; a whole upload may take longer."""


def on_starting(_server: Any) -> None:
    """Import the app once, before the workers fork: half the time to start, and its pages are shared.

    Only the import: what the app opens, each worker opens for itself.
    """
    importlib.import_module("backend.app")


def post_fork(_server: Any, worker: Any) -> None:
    """Tell a worker how long it waits for a client: eight that stand still would hold all its threads."""
    worker.patience, worker.stall = HEAD_SECONDS, STALL_SECONDS
