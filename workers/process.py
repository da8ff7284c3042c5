"""What one worker process is: its identity and its runtime."""

from __future__ import annotations

import socket
from functools import cache

import psutil

from backend.runtime import Runtime
from backend.settings import load


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
