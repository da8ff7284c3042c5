"""Bringing the stack down: in order, with time for what is being worked on, and the data left as it is."""

from __future__ import annotations

import signal
from collections.abc import Callable

from backend.cli.embedded import programs, supervision
from backend.cli.embedded.home import Home
from backend.cli.embedded.supervision import Supervisor, full_name
from backend.cli.errors import StopFailed

Report = Callable[[str], None]

_WARM_SECONDS = 10  # how long a worker may finish what it does before it is told to drop it
_STOPPED = {"STOPPED", "EXITED", "FATAL", "BACKOFF"}


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
    supervisor.stop(programs.LABEL_STUDIO)  # takes its time, which the others use
    # The host before its services: it would start a stopped one again.
    _stop(supervisor, [programs.HOST], report)
    services = [full_name(found) for found in supervisor.processes() if found["group"] not in programs.NAMES]
    _stop(supervisor, services, report)
    _stop_workers(supervisor, report)
    for name in (programs.LABEL_STUDIO, programs.ML_BACKEND, programs.API, programs.STORE, programs.VALKEY):
        _stop(supervisor, [name], report)
    supervisor.shut_down()


def _stop(supervisor: Supervisor, names: list[str], report: Report, seconds: float = 60) -> None:
    for name in names:
        report(f"stopping {name}")
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
    states = {found["statename"] for found in supervisor.processes() if full_name(found) in names}
    return True if states <= _STOPPED else None
