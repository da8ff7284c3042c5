"""Cells, shares and tables as Markdown text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table; no cell can break it."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(safe(cell).replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "|" + " --- |" * len(head), *map(line, rows)]


def safe(text: str) -> str:
    """A name on one line, and no HTML to whatever shows the text."""
    return " ".join(text.split()).replace("<", "&lt;")


def percent(share: float, interval: Sequence[float] | None = None) -> str:
    """A share 0..1, with its interval in brackets: `86 % (79 to 92 %)`."""
    value = f"{100 * share:.0f} %"
    return value if interval is None else f"{value} ({100 * interval[0]:.0f} to {100 * interval[1]:.0f} %)"


def paragraph(*sentences: str) -> list[str]:
    """The lines of a paragraph, and an empty one after it."""
    return [*textwrap.wrap(" ".join(sentences), 100, break_long_words=False, break_on_hyphens=False), ""]
