"""A worker process: its identity, and that it dies with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import cast

import psutil
import pytest
from rq import Worker
from rq.job import Job
from sqlalchemy import Engine

from backend.db import SessionFactory
from backend.runtime import Runtime
from tests.valkey import until
from workers.process import identity, is_gone
from workers.worker import SightloopWorker

_PARENT = """
import os, sys, time
from workers.parent import die_with_parent
child = os.fork()
if child == 0:
    die_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)
time.sleep(600)
"""


def test_this_process_is_not_gone() -> None:
    assert not is_gone(identity())


def test_a_process_that_has_ended_is_gone() -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from workers.process import identity; print(identity())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert is_gone(child.stdout.strip())


def test_a_pid_that_is_used_again_does_not_count() -> None:
    host, pid, started = identity().split("/")
    assert is_gone(f"{host}/{pid}/{float(started) - 100:.2f}")


def test_a_process_of_another_host_is_not_judged() -> None:
    assert not is_gone("elsewhere/1/1.00")
    assert not is_gone("")


def test_the_forked_process_dies_when_its_parent_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()

    def dead() -> bool:
        return not psutil.pid_exists(orphan) or psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE

    until(dead, "the death of the orphan", seconds=60)


def test_the_forked_process_opens_a_connection_of_its_own(
    sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that parent and child use both would mix their transactions."""
    engine: Engine = sessions.kw["bind"]
    with engine.connect() as connection:
        of_parent = connection.connection.dbapi_connection
    used: list[object] = []

    def work(*_: object) -> None:
        with engine.connect() as connection:
            used.append(connection.connection.dbapi_connection)

    monkeypatch.setattr("workers.worker.die_with_parent", lambda: None)
    monkeypatch.setattr(Worker, "main_work_horse", work)
    worker = SightloopWorker.__new__(SightloopWorker)
    worker._runtime = cast("Runtime", SimpleNamespace(sessions=sessions))
    worker.main_work_horse(cast("Job", None), None)
    assert used and used[0] is not of_parent
