"""How commands show things to people: tables, fields, and a bar or a line while something runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from backend.cli.client import Resource
from backend.cli.frame import Shell, answer

_IN_A_LINE = 4  # named values
Advance = Callable[[int, int | None, str], None]


def listing(shell: Shell, items: Iterable[Resource], columns: Sequence[str], empty: str) -> None:
    """A list: a JSON array, or a table of these fields, or a sentence when there is nothing."""
    rows = list(items)
    if shell.json:
        answer(rows)
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(escape(text(row.get(column))) for column in columns))
    printed(table)


def printed(table: Table) -> None:
    """A table as wide as the terminal; in a file or a pipe as wide as it likes, one row a line."""
    console = Console()
    (console if console.is_terminal else Console(width=10_000)).print(table)


def fields(shell: Shell, resource: Resource, names: Sequence[str]) -> None:
    """One resource: as JSON whole, otherwise those of its fields that say something."""
    if shell.json:
        answer(resource)
        return
    width = max(len(name) for name in names)
    for name in names:
        title = name.replace("_", " ")
        for value in _lines(resource.get(name)):
            click.echo(f"{title:<{width}}  {value}")
            title = ""


def _lines(value: Any) -> list[str]:
    """A value in one line, many named ones in a line each; nothing where it says nothing."""
    if isinstance(value, dict) and len(value) > _IN_A_LINE:
        width = max(len(name) for name in value)
        return [f"{name.replace('_', ' '):<{width}}  {text(part)}" for name, part in value.items()]
    shown = text(value)
    return [shown] if shown != "-" else []


def done(shell: Shell, resource: Resource, sentence: str) -> None:
    """What a command did: the resource as JSON, otherwise a sentence."""
    if shell.json:
        answer(resource)
    else:
        click.echo(sentence)


def text(value: Any) -> str:
    """A value as people read it."""
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(text(part) for part in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {text(part)}" for name, part in value.items())
    return local_time(value) if isinstance(value, str) and _is_time(value) else str(value)


def _is_time(value: str) -> bool:
    return len(value) >= 19 and value[4:5] == "-" and value[10:11] == "T" and value[:4].isdigit()


def local_time(value: str) -> str:
    """A time of the API in this machine's zone."""
    try:
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return value


def size(count: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def bar(title: str) -> Iterator[Advance]:
    """A progress bar on stderr, for a terminal only; call with what is done, the total and a word."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=None)

        def advance(count: int, total: int | None, word: str) -> None:
            label = f"{title} {word}".strip()
            progress.update(task, completed=count, total=total or None, description=label)

        yield advance


@contextmanager
def line(title: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being waited for; nothing when stderr is no terminal."""
    with Console(stderr=True).status(title) as status:
        yield lambda word: status.update(f"{title}: {word}" if word else title)


def seconds_between(first: str, last: str) -> float:
    """How long it took."""
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
