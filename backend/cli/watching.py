"""Watching a training task: its steps, metrics and log lines as they come."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import click

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.durations import spoken
from backend.cli.errors import OperationFailed, Unreachable
from backend.cli.frame import Shell

ENDED = frozenset({"succeeded", "stopped", "failed"})
_PAUSE = 1.0
_LONGEST_FACT = 40  # longer ones, such as hashes, are for `tasks show`


def watch_task(shell: Shell, name: str) -> Resource:
    """Show a task until it ends. Ctrl-C leaves it running and says so."""
    watch = _Watch(shell, name)
    try:
        with show.line(f"{name}") as say:
            return shell.client.wait(
                named("training-tasks", name),
                done=lambda task: task["state"] in ENDED,
                watch=lambda task: watch.tell(task, say),
                pause=_PAUSE,
            )
    except KeyboardInterrupt:
        raise OperationFailed(
            f"detached; task {name} goes on. Watch it with `sightloop tasks logs {name} --follow`, "
            f"stop it with `sightloop tasks stop {name}`"
        ) from None


class _Watch:
    """What has been told of one task, so that nothing is told twice."""

    def __init__(self, shell: Shell, name: str) -> None:
        self._shell, self._address = shell, named("training-tasks", name)
        self._metric = 0
        self._told: set[str] = set()

    def tell(self, task: Resource, say: Any) -> None:
        """Print what is new; nothing with --json, whose only output is the task."""
        say(task["state"])
        if self._shell.json:
            return
        if task["note"]:
            self._once(f"Note: {task['note']}.")
        rows, self._metric = self._shell.client.news(f"{self._address}/metrics", self._metric)
        for text in _metric_lines(rows):
            click.echo(text)
        for step in task["steps"]:
            if step["started_at"]:
                self._once(f"{step['name']} …")
            if step["finished_at"]:
                self._once(_step_line(step))

    def _once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            click.echo(text)


def _step_line(step: Resource) -> str:
    facts = {key: value for key, value in step["facts"].items() if len(show.text(value)) <= _LONGEST_FACT}
    seconds = show.seconds_between(step["started_at"], step["finished_at"])
    tail = f": {show.text(facts)}" if facts else ""
    return f"{step['name']} {step['state']} after {spoken(seconds)}{tail}"


def _metric_lines(rows: Iterable[Resource]) -> list[str]:
    """One line an epoch."""
    epochs: dict[tuple[int, str, float], dict[str, float]] = {}
    for row in rows:
        epochs.setdefault((row["attempt"], row["step"], row["epoch"]), {})[row["name"]] = row["value"]
    return [f"  {step} epoch {epoch:.3g}: {show.text(values)}" for (_, step, epoch), values in epochs.items()]


def follow_logs(shell: Shell, name: str, query: dict[str, Any]) -> None:
    """Print log lines until the task has ended and nothing new comes. Ctrl-C ends it quietly."""
    address = named("training-tasks", name)
    after = failures = 0
    try:
        while True:
            try:
                ended = shell.client.get(address)["state"] in ENDED
                lines, after = shell.client.news(f"{address}/logs", after, **query)
                failures = 0
            except Unreachable:
                failures += 1
                if failures > 10:
                    raise
                lines, ended = [], False
            for entry in lines:
                _print_entry(shell, entry)
            if ended:
                return
            time.sleep(_PAUSE)
    except KeyboardInterrupt:
        click.echo(f"Task {name} goes on; `sightloop tasks stop {name}` stops it.", err=True)


def _print_entry(shell: Shell, entry: Resource) -> None:
    if shell.json:
        click.echo(json.dumps(entry, ensure_ascii=False))
    else:
        click.echo(f"{show.local_time(entry['at'])} {entry['step']:<9} {entry['message']}")
