"""The end of a service's log: its last lines, and why the service does not start as one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model_server.instance import CANNOT_START

_TAIL_BYTES, _SHOWN_BYTES = 64 * 1024, 256 * 1024
_LONGEST = 400


def last_lines(log: Path, most: int) -> list[str]:
    """The last lines with text, the newest last, of the last 256 KiB; none where there is no log."""
    return _tail(log, _SHOWN_BYTES)[-most:]


def last_reason(log: Path) -> str:
    """The reason that the service itself gave; else the last error, else the last line."""
    lines = _tail(log, _TAIL_BYTES)
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


def _tail(log: Path, size: int) -> list[str]:
    try:
        with log.open("rb") as stream:
            stream.seek(0, 2)
            start = max(0, stream.tell() - size)
            stream.seek(start)
            if start:
                stream.readline()  # the rest of a line whose beginning is not read
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
