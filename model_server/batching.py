"""Who may use the model now: a bounded queue in order of arrival, before a fixed number of places.

No request waits for another to make a batch: on the CPU two images together take nearly twice as long as one
(benchmarks/model_server.md). But those that are waiting anyway when the model becomes free go to it together,
which saves some percent. What helps more is to decode the next images while the model works, and
to admit only as much work as can be answered in time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

from model_server.errors import GetInstanceError

Work = TypeVar("Work")
Answer = TypeVar("Answer")


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


class _Job(Generic[Work, Answer]):
    """The work of one request, and its answers once somebody has them."""

    def __init__(self, work: Sequence[Work]) -> None:
        self.work = work
        self.answers: Sequence[Answer] | None = None


class Together(Generic[Work, Answer]):
    """Runs `compute` in one thread at a time, on the work of all requests that wait at that moment.

    `compute` gives one answer a piece of work, in order, and raises nothing: what fails in one piece is its
    answer. At most `most` pieces are put together; one request with more is not divided.
    """

    def __init__(self, compute: Callable[[Sequence[Work]], Sequence[Answer]], most: int) -> None:
        self._compute = compute
        self._most = most
        self._place = Places(1)
        self._lock = threading.Lock()
        self._jobs: deque[_Job[Work, Answer]] = deque()

    def answer(self, work: Sequence[Work], deadline: Deadline) -> Sequence[Answer]:
        """The answers to this work. Raises `GetInstanceError` when its turn does not come in time."""
        job: _Job[Work, Answer] = _Job(work)
        with self._lock:
            self._jobs.append(job)
        try:
            with self._place.hold(deadline):
                if job.answers is None:  # nobody took it along
                    self._run(self._gather(job))
        except GetInstanceError:
            with self._lock:
                if job in self._jobs:
                    self._jobs.remove(job)
            if job.answers is None:
                raise
        assert job.answers is not None
        return job.answers

    def _gather(self, first: _Job[Work, Answer]) -> list[_Job[Work, Answer]]:
        """The job whose turn it is, and those behind it as long as there is room."""
        with self._lock:
            self._jobs.remove(first)
            jobs, count = [first], len(first.work)
            while self._jobs and count + len(self._jobs[0].work) <= self._most:
                jobs.append(self._jobs.popleft())
                count += len(jobs[-1].work)
        return jobs

    def _run(self, jobs: Sequence[_Job[Work, Answer]]) -> None:
        answers = self._compute([piece for job in jobs for piece in job.work])
        start = 0
        for job in jobs:
            job.answers = answers[start : start + len(job.work)]
            start += len(job.work)
