"""What one worker process is: its identity and its runtime."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from backend.runtime import Runtime
from backend.settings import load

_PROC = Path("/proc")
_BOOT = _PROC / "sys/kernel/random/boot_id"
_PIDS = _PROC / "self/ns/pid"


@cache
def process_runtime() -> Runtime:
    """The runtime of this process, from its environment."""
    return Runtime(load())


def identity() -> str:
    """`machine/pid/start`: names this very process, also after its pid is used again."""
    return f"{_machine()}/{os.getpid()}/{_start(os.getpid())}"


def is_gone(worker: str) -> bool:
    """Whether that process ran on this machine and no longer does; False when it cannot be known here."""
    machine, _, rest = worker.partition("/")
    pid, _, started = rest.partition("/")
    return machine == _machine() and pid.isdigit() and _start(int(pid)) != started


@cache
def _machine() -> str:
    """Where a pid means one process: host names may be given twice, and containers count their own pids."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # where there is no /proc, the name must do
        parts += [_BOOT.read_text().strip(), _PIDS.readlink().name]
    return ":".join(parts)


def _start(pid: int) -> str:
    """When the process began, by a clock that nobody sets where there is one; empty when it has ended."""
    try:
        # The name in parentheses may hold anything; after it come the state and so on (man 5 proc).
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    except OSError:
        if _PROC.is_dir():
            return ""
    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""
