"""Bringing the stack up."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from backend import settings
from backend.cli.embedded import health, ports, programs, supervision
from backend.cli.embedded.home import Choices, Home
from backend.cli.embedded.supervision import Supervisor
from backend.cli.errors import StartFailed

Report = Callable[[str], None]
DEFAULT_PORT = 8700
DEFAULT_HOST = ports.LOOPBACK

_ANSWER_SECONDS = 90
_STARTS = 4  # a program that was started more often than this does not work
_RAISED = re.compile(r"[\w.]*(Error|Exception)\b.*:")


def up(home: Home, port: int | None, host: str | None, shell: Mapping[str, str], report: Report) -> bool:
    """Start what does not run yet and wait until everything answers; False when everything did already.

    Raises a `StackError` or `SettingsError` that says what is in the way.
    """
    settings.load({name: value for name, value in shell.items() if name != "SIGHTLOOP_DATA_DIR"})
    home.prepare()
    with home.lock(), _private_files():
        running = supervision.find(home)
        choices = _choices(home, port, host, running)
        if running and _all_well(home, choices, running):
            return False
        supervisor = running or _launch(home, choices, shell, report)
        _start(home, choices, supervisor, shell, report)
    return True


@contextmanager
def _private_files() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _choices(home: Home, port: int | None, host: str | None, running: Supervisor | None) -> Choices:
    kept = home.choices()
    wanted = Choices(
        port=port or (kept.port if kept else DEFAULT_PORT), host=host or (kept.host if kept else DEFAULT_HOST)
    )
    if running and kept and wanted != kept:
        raise StartFailed(
            f"the stack of {home.path} runs on {kept.host} port {kept.port}; "
            "run `sightloop down` before you give it another address"
        )
    return wanted


def _launch(home: Home, choices: Choices, shell: Mapping[str, str], report: Report) -> Supervisor:
    planned = programs.programs(home, choices, shell)
    if supervision.sweep(home):
        report("ended what an earlier run had left behind")
    ports.require_free(ports.Ports(choices.port), choices.host)
    home.choose(choices)
    programs.write_configurations(home, choices)
    return supervision.launch(home, planned, shell)


def _start(
    home: Home, choices: Choices, supervisor: Supervisor, shell: Mapping[str, str], report: Report
) -> None:
    checks = health.checks(home, choices)
    for name in (programs.VALKEY, programs.STORE):
        supervisor.start(name)
    report("bringing the database up to date")
    _migrate(home, choices, shell)
    _await(home, supervisor, checks, (programs.VALKEY,), report)
    for name in (programs.API, *programs.WORKERS):
        supervisor.start(name)
    _await(home, supervisor, checks, (programs.STORE, programs.API), report)
    supervisor.start(programs.HOST)
    _await(home, supervisor, checks, (*programs.WORKERS, programs.HOST), report)


def _migrate(home: Home, choices: Choices, shell: Mapping[str, str]) -> None:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - a second `up` needs no database

    from backend import db  # noqa: PLC0415

    url = settings.load(programs.settings_environment(home, choices, shell)).database
    try:
        db.migrate(url)
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise StartFailed(f"the database cannot be brought up to date: {reason}") from error


def _await(
    home: Home,
    supervisor: Supervisor,
    checks: Mapping[str, health.Check],
    names: Iterable[str],
    report: Report,
) -> None:
    end = time.monotonic() + _ANSWER_SECONDS
    for name in names:
        report(f"waiting for {name}")
        starts: set[int] = set()
        while trouble := _trouble(home, supervisor, checks, name, starts):
            if time.monotonic() > end:
                raise StartFailed(f"{trouble}; see {home.logs / name}.log, then run `sightloop up` again")
            time.sleep(0.15)


def _trouble(
    home: Home, supervisor: Supervisor, checks: Mapping[str, health.Check], name: str, starts: set[int]
) -> str | None:
    process = next(found for found in supervisor.processes() if found["name"] == name)
    state = process["statename"]
    starts.add(process["start"])
    if state == "FATAL" or len(starts) > _STARTS:
        raise StartFailed(f"{name} does not start: {_last_line(home, name)}; see {home.logs / name}.log")
    if state != "RUNNING":
        return f"{name} does not run ({state.lower()})"
    return checks[name]() if name in checks else None


def _last_line(home: Home, name: str) -> str:
    try:
        lines = (home.logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
    except OSError:
        return "it left no log"
    raised = [line for line in lines[-60:] if _RAISED.match(line)]
    return (raised or lines or ["it left no message"])[-1].strip()[:300]


def _all_well(home: Home, choices: Choices, supervisor: Supervisor) -> bool:
    found = {process["name"]: process["statename"] for process in supervisor.processes()}
    if any(found.get(name) != "RUNNING" for name in programs.NAMES):
        return False
    return health.api_is_ready(programs.api_url(choices)) is None


def environment() -> Mapping[str, str]:
    """The environment of the shell that runs the command."""
    return os.environ
