"""What a running service does: its requests and times as figures and curves, and its log."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, request

from backend.console.page import show
from backend.db import now
from backend.errors import AppError
from backend.services import logs, registry, usage
from backend.services.usage import Point
from backend.views import runtime, workspace_id

bp = Blueprint("observing", __name__)
_SPANS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
_LINES = 200


@bp.get("/services/<name>/usage")
def used(name: str) -> Response:
    """The part of the service's page with its figures, which refreshes itself."""
    span = request.args.get("span", "hour")
    span = span if span in _SPANS else "hour"
    with runtime().sessions() as session:
        service = registry.get(session, workspace_id(), name)
        points = usage.points(session, service, _SPANS[span])
    until = now()
    return show(
        "service_usage.html",
        service=service,
        span=span,
        since=round((until - _SPANS[span]).timestamp()),
        until=round(until.timestamp()),
        count=usage.total(point.count for point in points),
        kinds=usage.kinds(usage.total(point.count for point in points)),
        series=_series(points),
    )


@bp.get("/services/<name>/log")
def log(name: str) -> Response:
    """The part of the service's page with its log, newest first, which refreshes itself."""
    with runtime().sessions() as session:
        service = registry.get(session, workspace_id(), name)
    try:
        lines, refusal = logs.last(runtime().settings, service, _LINES), ""
    except AppError as error:
        lines, refusal = [], str(error)
    return show("service_log.html", service=service, lines=lines[::-1], refusal=refusal)


def _series(points: list[Point]) -> dict[str, list[Any]]:
    """Columns for the curves; times of answers in milliseconds, None where there was none."""

    def milliseconds(seconds: float | None) -> float | None:
        return None if seconds is None else round(1000 * seconds, 1)

    return {
        "at": [round(point.at.timestamp()) for point in points],
        "requests": [round(point.count.total) for point in points],
        "errors": [round(point.count.errors) for point in points],
        "median": [milliseconds(point.count.quantile(0.5)) for point in points],
        "slowest": [milliseconds(point.count.quantile(0.95)) for point in points],
    }
