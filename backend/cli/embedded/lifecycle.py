"""Bringing the stack up and down, and telling how it is."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from backend import settings
from backend.cli.embedded import health, ports, programs, supervision
from backend.cli.embedded.home import Choices, Home
from backend.cli.embedded.supervision import Process, Supervisor
from backend.cli.errors import StartFailed, StopFailed

Report = Callable[[str], None]
DEFAULT_PORT = 8700
DEFAULT_HOST = ports.LOOPBACK

_ANSWER_SECONDS = 90
_STARTS = 4  # a program that was started more often than this does not work
_WARM_SECONDS = 10  # how long a worker may finish what it does before it is told to drop it
_RAISED = re.compile(r"[\w.]*(Error|Exception)\b.*:")
_STOPPED = {"STOPPED", "EXITED", "FATAL", "BACKOFF"}


@dataclass(frozen=True)
class ProgramStatus:
    """One line of `sightloop status`."""

    name: str
    state: str
    pid: int | None
    uptime: int | None
    memory: int | None


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
    _await(home, supervisor, checks, (programs.VALKEY, programs.STORE), report)
    supervisor.start(programs.API)
    for name in programs.WORKERS:
        supervisor.start(name)
    _await(home, supervisor, checks, (programs.API,), report)
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


def down(home: Home, report: Report) -> bool:
    """Stop everything in order, leave the data; False when nothing ran. Raises `StopFailed`."""
    if not home.path.is_dir():
        return False
    with home.lock():
        supervisor = supervision.find(home)
        if supervisor is None:
            return supervision.sweep(home) > 0
        _stop_in_order(supervisor, report)
        ended = supervision.wait_for(lambda: None if supervision.find(home) else True, 60)
        supervision.sweep(home)
        if ended is None:
            raise StopFailed(f"supervisord does not end; see {home.logs / 'supervisord.log'}")
    return True


def _stop_in_order(supervisor: Supervisor, report: Report) -> None:
    # The host first: it would start a stopped service again.
    _stop(supervisor, [programs.HOST], report)
    services = [
        f"{p['group']}:{p['name']}" for p in supervisor.processes() if p["name"] not in programs.NAMES
    ]
    _stop(supervisor, services, report)
    _stop_workers(supervisor, report)
    for name in (programs.API, programs.STORE, programs.VALKEY):
        _stop(supervisor, [name], report)
    supervisor.shut_down()


def _stop(supervisor: Supervisor, names: list[str], report: Report, seconds: float = 60) -> None:
    for name in names:
        report(f"stopping {name.partition(':')[2] or name}")
        supervisor.stop(name)
    supervision.wait_for(lambda: _gone(supervisor, names), seconds)


def _stop_workers(supervisor: Supervisor, report: Report) -> None:
    """Warm, then cold: the second signal makes a worker drop its job, which goes on after the next start."""
    workers = list(programs.WORKERS)
    for name in workers:
        report(f"stopping {name}")
        supervisor.stop(name)
    if supervision.wait_for(lambda: _gone(supervisor, workers), _WARM_SECONDS) is None:
        for name in workers:
            supervisor.signal(name, signal.SIGTERM)
        supervision.wait_for(lambda: _gone(supervisor, workers), 30)


def _gone(supervisor: Supervisor, names: list[str]) -> bool | None:
    plain = {name.rpartition(":")[2] for name in names}
    states = {p["statename"] for p in supervisor.processes() if p["name"] in plain}
    return True if states <= _STOPPED else None


def status(home: Home) -> tuple[str, list[ProgramStatus]]:
    """`running`, `partly` or `stopped`, and a line for each program."""
    supervisor = supervision.find(home) if home.choices() else None
    if supervisor is None:
        return "stopped", [ProgramStatus(name, "stopped", None, None, None) for name in programs.NAMES]
    found = sorted(supervisor.processes(), key=_rank)
    lines = [_line(process) for process in found]
    running = all(line.state == "running" for line in lines)
    return ("running" if running else "partly"), lines


def _rank(process: Process) -> tuple[int, str]:
    name = process["name"]
    return (programs.NAMES.index(name) if name in programs.NAMES else len(programs.NAMES), name)


def _line(process: Process) -> ProgramStatus:
    pid = process["pid"] or None
    uptime = process["now"] - process["start"] if pid else None
    return ProgramStatus(process["name"], process["statename"].lower(), pid, uptime, _memory(pid))


def _memory(pid: int | None) -> int | None:
    """Bytes that the program and its children hold; shared pages count once where the system tells."""
    if pid is None:
        return None
    total = 0
    try:
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            total += _own_memory(process)
    except psutil.Error:
        return total or None
    return total


def _own_memory(process: psutil.Process) -> int:
    try:
        found: Any = process.memory_full_info()
    except (psutil.Error, OSError):
        return int(process.memory_info().rss)
    return int(getattr(found, "pss", 0) or found.rss)


def describe(home: Home, choices: Choices) -> dict[str, Any]:
    """Where everything of a running stack is: the object that `up --json` prints."""
    plan = ports.Ports(choices.port)
    url = programs.api_url(choices)
    return {
        "console": url,
        "api": f"{url}/api/v1",
        "label_studio": None,
        "s3": {
            "endpoint": f"http://{ports.LOOPBACK}:{plan.s3}",
            "access_key": home.secret("s3-access-key"),
            "secret_key": home.secret("s3-secret-key"),
        },
        "token_file": str(home.token_file),
        "data_dir": str(home.path),
    }


def environment() -> Mapping[str, str]:
    """The environment of the shell that runs the command."""
    return os.environ
