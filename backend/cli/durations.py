"""Durations as people write them: 90s, 10m, 1h, 1h30m, or plain seconds."""

from __future__ import annotations

import re
from typing import Any

import click

_FORM = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")


class Duration(click.ParamType[int]):
    """Seconds from `10m`, `90s`, `1h30m` or `600`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds, at least one."""
        found = _FORM.fullmatch(str(value).strip().lower())
        hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
        total = hours * 3600 + minutes * 60 + seconds
        if total < 1:
            self.fail(f"{value!r} is no duration; write it like 90s, 10m or 1h", param, ctx)
        return total


def spoken(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
