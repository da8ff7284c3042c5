"""Who may use the model now: a bounded queue in order of arrival, before a fixed number of places.

Requests are not gathered into batches. On the CPU a batch of four took as long as four single forwards
(benchmarks/model_server.md), so waiting for one another would only cost time; the images of one request do
go to the model together. What helps is to decode the next images while the model works, and to admit only
as much work as can be answered in time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from model_server.errors import GetInstanceError


class Deadline:
    """A moment on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, not below 0."""
        return max(0.0, self._at - time.monotonic())


class Places:
    """`count` places, taken in order of arrival: whoever asked first is served first.

    A semaphore would let a newcomer overtake one that is just waking up, which shows in the slowest answers.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()

    @contextmanager
    def hold(self, deadline: Deadline) -> Iterator[None]:
        """Hold one place. Raises `GetInstanceError` when none comes free before the deadline."""
        self._take(deadline)
        try:
            yield
        finally:
            self._pass_on()

    def _take(self, deadline: Deadline) -> None:
        with self._lock:
            if self._free and not self._waiting:
                self._free -= 1
                return
            turn = threading.Event()
            self._waiting.append(turn)
        if turn.wait(deadline.left()):
            return
        with self._lock:
            if not turn.is_set():
                self._waiting.remove(turn)
                raise GetInstanceError("no instance became free in time; try again later or add instances")

    def _pass_on(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1


class Admission:
    """At most `size` requests inside; one more is refused at once, so that the client can go elsewhere."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._inside = 0
        self._lock = threading.Lock()

    @property
    def inside(self) -> int:
        """How many requests are admitted now."""
        return self._inside

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be admitted. Raises `GetInstanceError` when the queue is full."""
        with self._lock:
            if self._inside >= self._size:
                raise GetInstanceError("all instances are busy and the queue is full; try again later")
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
