"""Why a service does not start: the last telling line of its log as one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_server.instance import CANNOT_START

_TAIL_BYTES = 64 * 1024
_LONGEST = 400


def last_reason(log: Path) -> str:
    """The reason that the service itself gave; else the last error, else the last line."""
    lines = _tail(log)
    entries = [_entry(line) for line in lines]
    for entry in reversed(entries):
        if entry.get("event") == CANNOT_START:
            return f"{CANNOT_START}: {_short(str(entry.get('reason', '')))}"
    for entry in reversed(entries):
        if entry.get("level") in ("error", "critical"):
            return f"{CANNOT_START}: {_short(str(entry.get('event', '')))}"
    if lines:
        return f"{CANNOT_START}: {_short(lines[-1])}"
    return f"{CANNOT_START} and left nothing in its log"


def _tail(log: Path) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()]


def _entry(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
