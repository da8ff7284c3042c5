"""What one worker process is: its identity, its runtime, and its promise to die with its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from functools import cache

import psutil

from backend.runtime import Runtime
from backend.settings import load

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@cache
def process_runtime() -> Runtime:
    """The runtime of this process, from its environment."""
    return Runtime(load())


def identity() -> str:
    """`host/pid/start`: names this very process, also after its pid is used again."""
    process = psutil.Process()
    return f"{socket.gethostname()}/{process.pid}/{process.create_time():.2f}"


def is_gone(worker: str) -> bool:
    """Whether that process ran on this host and no longer does; False when it cannot be known here."""
    host, _, rest = worker.partition("/")
    pid, _, started = rest.partition("/")
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        process = psutil.Process(int(pid))
        return f"{process.create_time():.2f}" != started or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, so that no orphan goes on training."""
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return
    if os.getppid() != parent:  # it died between the two calls
        os._exit(1)
