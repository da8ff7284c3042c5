"""What readers of label files hand over: entries, and problems with their line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from plugins.contract import Label

MAX_REGIONS = 10_000  # of one image


@dataclass(frozen=True)
class Entry:
    """What a file says of one image. `name` is the image as the file calls it, a path as a rule.

    `width` and `height` are the image's pixels as the file says, 0 where it does not; `line` counts from 1, 0
    where lines mean nothing. `at` and `by` tell when and who, where the file knows.
    """

    name: str
    label: Label
    line: int = 0
    width: int = 0
    height: int = 0
    at: datetime | None = None
    by: str = ""


@dataclass(frozen=True)
class Problem:
    """A part of a file that was not taken, and why; `name` is the image concerned, if it is known."""

    line: int
    reason: str
    name: str = ""


@dataclass(frozen=True)
class Sized:
    """An image to write: its name, its label and its pixels (0: not known)."""

    name: str
    label: Label
    width: int = 0
    height: int = 0


Records = Iterator[Entry | Problem]
