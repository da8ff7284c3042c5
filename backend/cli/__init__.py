"""The command line: `sightloop NOUN VERB`, one module a noun, a client of the REST API.

Only `up`, `down`, `status`, `doctor` and `worker` reach past the API.
"""

from __future__ import annotations

from backend.cli.frame import main

__all__ = ["main"]
