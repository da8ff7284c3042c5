"""`/health/live` and `/health/ready`, outside the API's prefix and without a token."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response
from sqlalchemy import text

from backend.queue import ping
from backend.views import runtime

bp = Blueprint("health", __name__, url_prefix="/health")


@bp.get("/live")
def live() -> Response:
    """The process answers."""
    return make_response(jsonify({"state": "live"}))


@bp.get("/ready")
def ready() -> Response:
    """The database and the queue answer too."""
    with runtime().sessions() as session:
        session.execute(text("SELECT 1"))
    ping(runtime().redis)
    return make_response(jsonify({"state": "ready"}))
