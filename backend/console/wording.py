"""Moments, sizes and facts as people read them: filters of the templates."""

from __future__ import annotations

import json
from datetime import UTC, datetime

_UNITS = ("B", "kB", "MB", "GB", "TB")
_STEP = 1000


def when(moment: datetime | None) -> str:
    """A moment in UTC, to the minute; a dash for none."""
    return "-" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def duration(seconds: float) -> str:
    """Seconds as people say them, rounded to two units: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def size(number: float) -> str:
    """Bytes with a unit: `4.2 MB`."""
    for unit in _UNITS[:-1]:
        if number < _STEP:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= _STEP
    return f"{number:.1f} {_UNITS[-1]}"


def percent(share: float) -> str:
    """A share as `97.3 %`."""
    return f"{100 * share:.1f} %"


def milliseconds(seconds: float | None) -> str:
    """A time as `12 ms`; a dash for none."""
    return "-" if seconds is None else f"{1000 * seconds:.0f} ms"


def fact(value: object) -> str:
    """A value of a step's facts, a parameter or a metric."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "automatic"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
