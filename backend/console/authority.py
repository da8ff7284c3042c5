"""The certificate of the stack's own authority, for phones to install: no secret, so no session is needed."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, send_file

from backend.errors import NotFound
from backend.settings import Settings
from backend.views import runtime

bp = Blueprint("authority", __name__)
PATH = "/authority.crt"


def file(settings: Settings) -> Path:
    """Where `sightloop up --https` keeps it; without https there is none."""
    return settings.data_dir / "tls" / "ca.pem"


@bp.get(PATH)
def certificate() -> Response:
    """In the form that phones offer to install."""
    found = file(runtime().settings)
    if not found.is_file():
        raise NotFound("this console has no certificate of its own")
    return send_file(found, "application/x-x509-ca-cert", True, "sightloop.crt", max_age=0)
