"""`sightloop up | down | status | doctor`: everything on this machine, under one data directory."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import click
from rich.table import Table

from backend.cli import show
from backend.cli.embedded import inspection, lifecycle, shutdown
from backend.cli.embedded.home import Choices
from backend.cli.embedded.ports import HIGHEST, LOOPBACK, LOWEST
from backend.cli.frame import Shell, Verb, answer, pass_shell


def _without_ipv6(_ctx: click.Context, _parameter: click.Parameter, host: str | None) -> str | None:
    """The address; services listen on IPv4 alone, and what is kept must be one for all programs."""
    if host and ":" in host:
        raise click.BadParameter(f"{host} is no IPv4 address; 0.0.0.0 means every one of this machine")
    return host


@click.command(cls=Verb, example="sightloop up\nsightloop up --host 0.0.0.0 --https")
@click.option(
    "--port",
    type=click.IntRange(LOWEST, HIGHEST),
    help="Port of the API; the rest uses the 99 after it. [default: 8700, or as before]",
)
@click.option(
    "--host",
    metavar="ADDRESS",
    callback=_without_ipv6,
    help="IPv4 address that the API and the services listen on. [default: 127.0.0.1, or as before]",
)
@click.option(
    "--https/--no-https",
    default=None,
    help="Whether other machines reach the console and the API by https, with a certificate made here: "
    "phones give pages the camera over https only. [default: without, or as before]",
)
@click.option(
    "--label-studio/--no-label-studio",
    default=None,
    help="Whether Label Studio is part of the stack; without it, SIGHTLOOP_LABEL_STUDIO_URL and "
    "SIGHTLOOP_LABEL_STUDIO_TOKEN name your own, or there is none. [default: with it, or as before]",
)
@click.option(
    "--label-studio-wait",
    metavar="SECONDS",
    type=click.FloatRange(0, 3600),
    default=60,
    help="How long to wait for Label Studio, which starts last. [default: 60]",
)
@pass_shell
def up(
    shell: Shell,
    port: int | None,
    host: str | None,
    https: bool | None,
    label_studio: bool | None,
    label_studio_wait: float,
) -> None:
    """Start everything on this machine and wait until it answers.

    Running it again starts what does not run; the data directory keeps its ports, keys and data.
    """
    wanted = lifecycle.Wanted(port, host, label_studio, label_studio_wait, https)
    with show.line("Starting") as report:
        started = lifecycle.up(shell.home, wanted, lifecycle.environment(), report)
    choices = _choices(shell)
    where = {**inspection.describe(shell.home, choices), "state": "running"}
    if started.administrator:
        where["administrator"] = started.administrator
    if shell.json:
        answer(where)
        return
    click.echo("Sightloop is up." if started.anything else "Sightloop is running already.")
    _print_where(where)
    if choices.host != LOOPBACK:
        click.echo(_warning(choices), err=True)


def _warning(choices: Choices) -> str:
    if choices.https:
        return (
            f"Services and Label Studio listen on {choices.host} without TLS. Browsers warn once of the "
            "console's certificate, which was made here."
        )
    return (
        f"The API listens on {choices.host}: anyone who reaches this machine can try tokens there. "
        "Put a TLS proxy in front."
    )


def _choices(shell: Shell) -> Choices:
    return shell.home.choices() or Choices(lifecycle.DEFAULT_PORT, lifecycle.DEFAULT_HOST)


def _print_where(where: dict[str, Any]) -> None:
    found = where["label_studio"] or {"url": "none", "state": "running"}
    state = "" if found["state"] == "running" else f" ({found['state']})"
    first = where.get("administrator")
    lines = {
        "Console": where["console"],
        "By https": where["https"],
        "Phones": where["phone"] or "cannot reach it; see --host and --https",
        **({"Sign in": f"{first['user']}, password {first['password']} (shown this once)"} if first else {}),
        "API": where["api"],
        "Token": f"in {where['token_file']}",
        "Label Studio": f"{found['url']}{state}",
        "S3": where["s3"]["endpoint"],
        "S3 access key": where["s3"]["access_key"],
        "S3 secret key": where["s3"]["secret_key"],
        "Data": where["data_dir"],
    }
    for name, value in lines.items():
        if value is None:
            continue
        click.echo(f"  {name:<14} {value}")
        if name == "Label Studio" and "user" in found:
            click.echo(f"  {'':<14} {found['user']}, password in {found['password_file']}")
    click.echo("Stop it with `sightloop down`, look after it with `sightloop status`.")


@click.command(cls=Verb, example="sightloop down")
@pass_shell
def down(shell: Shell) -> None:
    """Stop everything on this machine; the data stays.

    A training that runs is given a moment, then dropped; it goes on from its last checkpoint after `up`.
    """
    with show.line("Stopping") as report:
        stopped = shutdown.down(shell.home, report)
    if shell.json:
        answer({"state": "stopped", "data_dir": str(shell.home.path)})
    else:
        click.echo(
            f"Sightloop is down; its data is in {shell.home.path}."
            if stopped
            else "Sightloop is not running."
        )


@click.command(cls=Verb, example="sightloop status")
@pass_shell
def status(shell: Shell) -> None:
    """Show every program: state, uptime, process id, memory. Exits 0 when all run, otherwise 1."""
    state, programs = inspection.status(shell.home)
    where = inspection.describe(shell.home, _choices(shell)) if shell.home.choices() else {}
    if shell.json:
        lines = [asdict(program) for program in programs]
        urls = {name: where.get(name) for name in ("console", "api", "label_studio")}
        answer({"state": state, **urls, "data_dir": str(shell.home.path), "programs": lines})
    else:
        _print_status(shell, state, programs, where.get("console", ""))
    sys.exit(0 if state == "running" else 1)


def _print_status(shell: Shell, state: str, programs: list[inspection.ProgramStatus], url: str) -> None:
    if state == "stopped":
        click.echo(
            f"Sightloop is not running for data directory {shell.home.path}; start it with `sightloop up`"
        )
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("program", "state", "uptime", "pid", "memory"):
        table.add_column(title, justify="right" if title in ("uptime", "pid", "memory") else "left")
    for program in programs:
        table.add_row(
            program.name,
            program.state,
            _duration(program.uptime),
            str(program.pid or "-"),
            f"{program.memory / 1024**2:.0f} MB" if program.memory else "-",
        )
    show.printed(table)
    click.echo(f"{url}  data in {shell.home.path}")


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@click.command(cls=Verb, example="sightloop doctor")
@pass_shell
def doctor(shell: Shell) -> None:
    """Check this machine and the stack.

    Says how to mend what is wrong, and exits 1 when something is.
    """
    from backend.cli.embedded import diagnosis, examination  # noqa: PLC0415 - these import a great deal

    home, choices = shell.home, _choices(shell)
    checks: list[Callable[[], diagnosis.Verdict]] = [
        *diagnosis.machine(home, choices),
        partial(examination.supervisor, home),
    ]
    if inspection.status(home)[0] != "stopped":
        checks += examination.running(home, choices)
    verdicts: list[diagnosis.Verdict] = []
    with show.line("Checking") as report:
        for check in checks:
            verdicts.append(check())
            report(verdicts[-1].name)
    bad = any(verdict.verdict == diagnosis.PROBLEM for verdict in verdicts)
    if shell.json:
        answer({"state": "problem" if bad else "ok", "checks": [asdict(verdict) for verdict in verdicts]})
    else:
        for verdict in verdicts:
            click.echo(f"{verdict.verdict:<8} {verdict.name:<15} {verdict.detail}")
            if verdict.fix:
                click.echo(f"{'':<24} -> {verdict.fix}")
    sys.exit(1 if bad else 0)
