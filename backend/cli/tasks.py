"""`sightloop train` and `sightloop tasks …`: training tasks, their steps and logs."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import click

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.durations import Duration
from backend.cli.errors import OperationFailed, Refused
from backend.cli.frame import Noun, Shell, Verb, answer, pass_shell
from backend.cli.watching import follow_logs, watch_task

_NOUN = "training-tasks"
_FIELDS = (
    *("name", "state", "description", "dataset", "algorithm", "labels", "parameters", "gpus", "gpu_type"),
    *(
        "time_budget",
        "start_from",
        "parent",
        "attempt",
        "note",
        "error",
        "created_at",
        "started_at",
        "finished_at",
    ),
)


class _Parameter(click.ParamType[tuple[str, Any]]):
    """NAME=VALUE; the value is JSON where it can be read as such, otherwise text."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """The name and the value."""
        name, sign, text = str(value).partition("=")
        if not sign or not name:
            self.fail(f"{value!r} is not of the form NAME=VALUE", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


@click.command(
    cls=Verb,
    example="sightloop train flowers-1 --dataset flowers \\\n"
    "    --algorithm classification-high-performance --time-budget 10m --wait",
)
@click.argument("name")
@click.option("--dataset", required=True, help="Dataset to learn from.")
@click.option("--algorithm", required=True, help="Algorithm, such as classification-high-performance.")
@click.option("--labels", default="", metavar="A,B", help="Learn these classes only. [default: all]")
@click.option(
    "--start-from",
    metavar="MODEL|scratch",
    help="Model to go on from, or scratch. [default: the dataset's current model, where it fits]",
)
@click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs to train on. [default: the CPU]")
@click.option("--gpu-type", default="", help="Type of GPU, such as a100. [default: any]")
@click.option(
    "--time-budget",
    type=Duration(),
    metavar="DURATION",
    help="Like 90s, 10m or 1h, at least 10s. [default: 10m, or SIGHTLOOP_TIME_BUDGET of the API]",
)
@click.option("--param", "parameters", type=_Parameter(), multiple=True, help="A parameter of the algorithm.")
@click.option("--description", default="", help="Up to 1,000 characters.")
@click.option("--wait", is_flag=True, help="Show steps and metrics until it ends; Ctrl-C leaves it running.")
@pass_shell
def train(shell: Shell, /, name: str, wait: bool, labels: str, parameters: Any, **given: Any) -> None:
    """Train a model on a dataset.

    When it succeeds, the model is registered under the name of the task.
    """
    body = {field: value for field, value in given.items() if value not in (None, "")}
    body["name"] = name
    body["labels"] = [label.strip() for label in labels.split(",") if label.strip()]
    body["parameters"] = dict(parameters)
    task = shell.client.post("/training-tasks", body)
    if not wait:
        note = f" {task['note']}." if task["note"] else ""
        sentence = f"Task {name} is queued.{note} Watch it with `sightloop tasks logs {name} --follow`."
        show.done(shell, task, sentence)
        return
    _finish(shell, watch_task(shell, name))


def _finish(shell: Shell, task: Resource) -> None:
    name = task["name"]
    if shell.json:
        answer(task)
    if task["state"] == "failed":
        raise OperationFailed(f"task {name} failed: {task['error'] or task['error_code']}")
    if task["state"] == "stopped":
        raise OperationFailed(f"task {name} was stopped; see `sightloop tasks show {name}`")
    if not shell.json:
        click.echo(
            f"Model {name} is ready; see `sightloop models show {name}`, use it with `sightloop deploy`."
        )


@click.group(cls=Noun, example="sightloop tasks logs flowers-1 --follow")
def tasks() -> None:
    """Training tasks: steps, logs and outcome."""


@tasks.command("list", cls=Verb, example="sightloop tasks list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the training tasks, newest first."""
    columns = ("name", "state", "dataset", "algorithm", "created_at", "finished_at")
    show.listing(shell, shell.client.items("/training-tasks"), columns, "There are no training tasks yet.")


@tasks.command("show", cls=Verb, example="sightloop tasks show flowers-1")
@click.argument("name")
@pass_shell
def show_(shell: Shell, name: str) -> None:
    """Show a training task with its steps."""
    task = shell.client.get(named(_NOUN, name))
    show.fields(shell, task, _FIELDS)
    if not shell.json:
        for step in task["steps"]:
            click.echo(f"  {step['name']:<9} {step['state']:<10} {show.text(step['facts'])}")


@tasks.command(cls=Verb, example="sightloop tasks logs flowers-1 --step train --follow")
@click.argument("name")
@click.option("--step", default="", help="Only this step: prepare, train, evaluate or export.")
@click.option("--follow", is_flag=True, help="Go on until the task ends.")
@pass_shell
def logs(shell: Shell, name: str, step: str, follow: bool) -> None:
    """Print a task's log; with --json an array, with --json --follow one object a line."""
    query = {"step": step} if step else {}
    if follow:
        follow_logs(shell, name, query)
        return
    lines, _ = shell.client.news(f"{named(_NOUN, name)}/logs", 0, **query)
    if shell.json:
        answer(lines)
        return
    for entry in lines:
        click.echo(f"{show.local_time(entry['at'])} {entry['step']:<9} {entry['message']}")


@tasks.command(cls=Verb, example="sightloop tasks stop flowers-1")
@click.argument("name")
@click.option("--discard", is_flag=True, help="Keep nothing; otherwise the best model so far is kept.")
@click.option("--wait", is_flag=True, help="Wait until it has stopped.")
@pass_shell
def stop(shell: Shell, name: str, discard: bool, wait: bool) -> None:
    """Stop a task and keep the best model so far, or discard it."""
    task = shell.client.post(f"{named(_NOUN, name)}/stop", {"discard": discard})
    if wait:
        task = watch_task(shell, name)
    show.done(shell, task, f"Task {name} is {task['state']}; {_kept(shell, task, discard)}.")


def _kept(shell: Shell, task: Resource, discard: bool) -> str:
    """What becomes of what the task has learned."""
    if discard:
        return "nothing is kept"
    if task["state"] == "queued":
        return "the next free worker makes a model of what it has learned"
    if task["state"] == "stopping":
        return "the best model so far is kept, if there is one yet"
    if task["state"] == "failed":
        return str(task["error"] or task["error_code"])
    try:
        return f"model {shell.client.get(named('models', task['name']))['name']} is kept"
    except Refused as error:
        if error.answer_status != HTTPStatus.NOT_FOUND:
            raise
        return "there was no model yet"
