"""A worker process: its identity, and that it dies with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.valkey import until
from workers import process
from workers.process import identity, is_gone

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
    machine, pid, started = identity().split("/")
    assert is_gone(f"{machine}/{pid}/{float(started) - 100:.0f}")


def test_a_clock_that_is_set_ends_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What psutil says of the start of a process moves with the clock of the system."""
    before = identity()
    booted = psutil.boot_time() + 3600
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: booted)
    assert not is_gone(before)


def test_without_proc_the_clock_of_the_system_must_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process, "_PROC", tmp_path / "absent")
    machine, pid, started = identity().split("/")
    assert not is_gone(f"{machine}/{pid}/{started}")
    assert is_gone(f"{machine}/{pid}/{float(started) - 100:.2f}")
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert is_gone(f"{machine}/{child.pid}/{started}")


def test_a_process_of_a_machine_of_the_same_name_is_not_judged() -> None:
    machine, _, rest = identity().partition("/")
    assert not is_gone(f"{machine.split(':')[0]}:another-boot/{rest}9")


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
