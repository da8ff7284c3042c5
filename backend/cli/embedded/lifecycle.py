"""Bringing the stack up."""

from __future__ import annotations

import os
import re
import time
import xmlrpc.client
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from backend import settings
from backend.cli.embedded import health, ports, programs, supervision
from backend.cli.embedded.home import Choices, Home, write_private
from backend.cli.embedded.supervision import Supervisor
from backend.cli.errors import StartFailed

Report = Callable[[str], None]
DEFAULT_PORT = 8700
DEFAULT_HOST = ports.LOOPBACK

_ANSWER_SECONDS = 90
_STARTS = 4  # a program that was started more often than this does not work
_RAISED = re.compile(r"[\w.]*(Error|Exception)\b.*:")


@dataclass(frozen=True)
class Wanted:
    """What `up` is told; None is as before. `wait`: seconds that it waits for Label Studio, the slowest."""

    port: int | None = None
    host: str | None = None
    label_studio: bool | None = None
    wait: float = 60.0
    https: bool | None = None


@dataclass(frozen=True)
class Started:
    """What `up` has done: whether anything had to be started, and `user` and `password` of the administrator
    whom it made at the first start.
    """

    anything: bool
    administrator: Mapping[str, str] | None = None


def up(home: Home, wanted: Wanted, shell: Mapping[str, str], report: Report) -> Started:
    """Start what does not run yet and wait until everything answers.

    Label Studio starts beside the rest and is waited for last, and not longer than `wanted.wait`: then it
    goes on starting by itself. Raises a `StackError` or `SettingsError` that says what is in the way.
    """
    settings.load({name: value for name, value in shell.items() if name != "SIGHTLOOP_DATA_DIR"})
    home.prepare()
    with home.lock(), _private_files():
        running = supervision.find(home)
        choices = _choices(home, wanted, shell, running)
        well = running is not None and _all_well(home, choices, running)
        supervisor = running or _launch(home, choices, shell, report)
        if not well:
            _start(home, choices, supervisor, shell, report)
        if choices.label_studio:
            _await_label_studio(home, choices, supervisor, wanted.wait, report)
        return Started(not well, _administrator(home, choices, shell))


@contextmanager
def _private_files() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def _choices(home: Home, wanted: Wanted, shell: Mapping[str, str], running: Supervisor | None) -> Choices:
    kept = home.choices()
    before = kept or Choices(DEFAULT_PORT, DEFAULT_HOST)
    with_label_studio = before.label_studio if wanted.label_studio is None else wanted.label_studio
    own = shell.get("SIGHTLOOP_LABEL_STUDIO_URL", "").rstrip("/")
    if own and with_label_studio:
        raise StartFailed(
            f"SIGHTLOOP_LABEL_STUDIO_URL names a Label Studio of your own ({own}); "
            "run `sightloop up --no-label-studio` to use it, or unset the variable"
        )
    chosen = Choices(
        port=wanted.port or before.port,
        host=wanted.host or before.host,
        label_studio=with_label_studio,
        own_label_studio="" if with_label_studio else own or before.own_label_studio,
        https=before.https if wanted.https is None else wanted.https,
    )
    if running and kept and chosen != kept:
        raise StartFailed(
            f"the stack of {home.path} runs on {kept.host} port {kept.port}; "
            "run `sightloop down` before you give it another address, https or another Label Studio"
        )
    _keep_own_token(home, chosen, shell)
    return chosen


def _keep_own_token(home: Home, choices: Choices, shell: Mapping[str, str]) -> None:
    """The token of the user's own Label Studio is told once, like its address."""
    if not choices.own_label_studio:
        return
    if token := shell.get("SIGHTLOOP_LABEL_STUDIO_TOKEN", ""):
        write_private(home.own_token_file, f"{token}\n")
    elif not home.own_token():
        raise StartFailed(
            "SIGHTLOOP_LABEL_STUDIO_TOKEN is not set: make an access token in your Label Studio "
            "(Account & Settings) and run `sightloop up` again with it"
        )


def _launch(home: Home, choices: Choices, shell: Mapping[str, str], report: Report) -> Supervisor:
    planned = programs.programs(home, choices, shell)
    if supervision.sweep(home):
        report("ended what an earlier run had left behind")
    ports.require_free(ports.Ports(choices.port), choices.host)
    home.choose(choices)
    programs.write_configurations(home, choices)
    home.keep_worker_environment(programs.worker_environment(home, choices, shell))
    return supervision.launch(home, planned, shell)


def _start(
    home: Home, choices: Choices, supervisor: Supervisor, shell: Mapping[str, str], report: Report
) -> None:
    checks = health.checks(home, choices)
    _start_program(home, supervisor, programs.VALKEY)
    _start_program(home, supervisor, programs.STORE)
    if choices.label_studio:
        _start_program(home, supervisor, programs.LABEL_STUDIO)
    report("bringing the database up to date")
    _migrate(home, choices, shell)
    _await(home, supervisor, checks, (programs.VALKEY,), report)
    doors = (programs.API, programs.API_HTTPS) if choices.https else (programs.API,)
    for name in (*doors, *programs.WORKERS):
        supervisor.start(name)
    _await(home, supervisor, checks, (programs.STORE, *doors), report)
    last = (programs.HOST, programs.ML_BACKEND) if choices.labels else (programs.HOST,)
    for name in last:
        _start_program(home, supervisor, name)
    _await(home, supervisor, checks, (*programs.WORKERS, *last), report)


def _start_program(home: Home, supervisor: Supervisor, name: str) -> None:
    try:
        supervisor.start(name)
    except xmlrpc.client.Fault as fault:
        if "BAD_NAME" not in fault.faultString:
            raise
        raise StartFailed(
            f"the stack of {home.path} was started by an older release, without {name}; "
            "run `sightloop down`, then `sightloop up`"
        ) from None


def _await_label_studio(
    home: Home, choices: Choices, supervisor: Supervisor, seconds: float, report: Report
) -> None:
    name = programs.LABEL_STUDIO
    report(f"waiting for {name}")
    check, starts, end = health.checks(home, choices)[name], set[int](), time.monotonic() + seconds
    while _trouble(home, supervisor, {name: check}, name, starts) and time.monotonic() < end:
        time.sleep(0.15)


def _migrate(home: Home, choices: Choices, shell: Mapping[str, str]) -> None:
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415 - a second `up` needs no database

    from backend import db  # noqa: PLC0415

    url = settings.load(programs.settings_environment(home, choices, shell)).database
    try:
        db.migrate(url)
    except db.MigrationFailed as error:
        raise StartFailed(f"the database cannot be brought up to date: {error}") from error
    except SQLAlchemyError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise StartFailed(f"the database cannot be brought up to date: {reason}") from error


def _administrator(home: Home, choices: Choices, shell: Mapping[str, str]) -> Mapping[str, str] | None:
    """The first user, made last of all: what is shown once must not be lost to a start that fails."""
    if home.first_start.exists():
        return None
    from backend import db  # noqa: PLC0415 - a second `up` needs no database
    from backend.accounts import registry  # noqa: PLC0415

    engine = db.connect(settings.load(programs.settings_environment(home, choices, shell)).database)
    with db.transaction(db.sessions(engine)) as session:
        password = registry.first_administrator(session)
    engine.dispose()
    write_private(home.first_start, f"{db.now().isoformat()}\n")
    return {"user": registry.ADMINISTRATOR, "password": password} if password else None


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
    if any(found.get(name) != "RUNNING" for name in programs.names(choices)):
        return False
    return health.api_is_ready(programs.api_url(choices)) is None


def environment() -> Mapping[str, str]:
    """The environment of the shell that runs the command."""
    return os.environ
