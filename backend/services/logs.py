"""The log of a running service, line by line, as its processes write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.services import asking
from backend.services.tables import Service
from backend.settings import Settings

MOST = 500  # lines that a service tells
_LONGEST = 2000  # characters of a line that are kept


@dataclass(frozen=True)
class Line:
    """One event. `at` is an ISO time in UTC, empty for what a library printed; `facts` is all the rest."""

    at: str
    level: str
    message: str
    facts: Mapping[str, Any]


def last(settings: Settings, service: Service, most: int) -> list[Line]:
    """The last lines, the newest last.

    Raises `WrongState` for a service that does not run, `ServiceUnreachable`.
    """
    return [_line(text[:_LONGEST]) for text in asking.log_lines(settings, service)[-most:]]


def _line(text: str) -> Line:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        return Line("", "", text, {})
    at, level, message = (str(values.pop(name, "")) for name in ("timestamp", "level", "event"))
    return Line(at, level, message, values)
