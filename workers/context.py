"""The training context: what a plugin's trainer sees of the task, and the way its reports reach the database.

Rows are buffered and written together at most twice a second, each time behind the fence of `records.beat`:
an attempt that lost its task writes nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from backend.db import SessionFactory, now, transaction
from backend.training import records
from plugins.contract import AttemptLost, Example, Previous, Split, TrainingStopped

_FLUSH_SECONDS = 0.5


@dataclass
class Record:
    """The running attempt's pen: logs, metrics and facts of the current step."""

    sessions: SessionFactory
    task_id: int
    attempt: int
    trained_before: float = 0.0
    step: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    stop: str = ""

    def __post_init__(self) -> None:
        """Start the clock; nothing is written before the first flush."""
        self._lock = threading.RLock()
        self._logs: list[dict[str, Any]] = []
        self._metrics: list[dict[str, Any]] = []
        self._flushed = 0.0
        self._training_since: float | None = None
        self._lost = False

    @property
    def trained_seconds(self) -> float:
        """Seconds spent in the train step, earlier attempts counted in."""
        running = 0.0 if self._training_since is None else time.monotonic() - self._training_since
        return self.trained_before + running

    @property
    def nothing_to_keep(self) -> bool:
        """Whether a stop that was asked for ends the task now: nothing is to be kept, or nothing was trained
        yet, by an earlier attempt either.
        """
        return self.stop == "discard" or (self.stop == "keep" and not self.trained_before)

    def start_step(self, name: str) -> None:
        """Begin a step. Raises `AttemptLost`."""
        self.step, self.facts = name, {}
        self._training_since = time.monotonic() if name == "train" else None
        with transaction(self.sessions) as session:
            records.beat(session, self.task_id, self.attempt)
            records.start_step(session, self.task_id, name)

    def end_step(self, state: str) -> None:
        """End the step with everything that is still buffered. Raises `AttemptLost`."""
        self.flush()
        with transaction(self.sessions) as session:
            records.beat(session, self.task_id, self.attempt, trained_seconds=self.trained_seconds)
            records.end_step(session, self.task_id, self.step, state, self.facts)
        self.trained_before, self._training_since = self.trained_seconds, None

    def log(self, message: str) -> None:
        """Add a line."""
        row = {"task_id": self.task_id, "step": self.step, "at": now(), "message": message}
        with self._lock:
            self._logs.append(row)
        self.flush_if_due()

    def metric(self, name: str, value: float, epoch: float) -> None:
        """Add a metric row. Raises `ValueError` for a value that is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"metric {name} is {value}")
        row = {"task_id": self.task_id, "attempt": self.attempt, "step": self.step, "at": now()}
        with self._lock:
            self._metrics.append(row | {"epoch": epoch, "name": name, "value": float(value)})
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Flush when the last one was half a second ago. Raises `AttemptLost`."""
        if self._lost:
            raise AttemptLost(f"attempt {self.attempt} of task {self.task_id} no longer owns it")
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            with suppress(OperationalError):  # the database is busy: it is written later, at the latest by
                self.flush()  # the end of the step, which fails then

    def flush(self) -> None:
        """Write what is buffered, beat the heart, learn whether to stop. Raises `AttemptLost`."""
        with self._lock:
            try:
                with transaction(self.sessions) as session:
                    self.stop = records.beat(
                        session, self.task_id, self.attempt, trained_seconds=self.trained_seconds
                    )
                    records.add_logs(session, self._logs)
                    records.add_metrics(session, self._metrics)
                    if self.step and self.facts:
                        records.save_facts(session, self.task_id, self.step, self.facts)
            except AttemptLost:
                self._lost = True
                raise
            self._logs.clear()
            self._metrics.clear()
            self._flushed = time.monotonic()


@dataclass(frozen=True)
class Context:
    """See `plugins.contract.TrainingContext`."""

    algorithm: str
    params: Any
    labels: tuple[str, ...]
    device: str
    threads: int
    folder: Path
    time_budget: float
    record: Record
    snapshot: Sequence[Example]
    reader: Callable[[Example], bytes]
    previous: Previous | None = None
    weights: Path = Path("weights")
    offline: bool = True

    def examples(self, split: Split) -> Sequence[Example]:
        """The snapshot's examples of one side."""
        return [example for example in self.snapshot if example.split == split]

    def read(self, example: Example) -> bytes:
        """The image's bytes from the local cache."""
        return self.reader(example)

    def report(self, name: str, value: float, *, epoch: float) -> None:
        """One metric row."""
        self.record.metric(name, value, epoch)

    def fact(self, name: str, value: Any) -> None:
        """One fact of the running step."""
        self.record.facts[name] = value

    def log(self, message: str) -> None:
        """One line of the running step's log."""
        self.record.log(message)

    def should_stop(self) -> bool:
        """Whether to stop and keep the best; raises `TrainingStopped` to discard, `AttemptLost`."""
        return self.stop_requested() or self.time_left() <= 0

    def stop_requested(self) -> bool:
        """Whether the user asked to stop and keep the best; raises as `should_stop`."""
        self.record.flush_if_due()
        if self.record.stop == "discard":
            raise TrainingStopped("stopped, and nothing is kept")
        return self.record.stop == "keep"

    def time_left(self) -> float:
        """Seconds of the time budget that are left."""
        return self.time_budget - self.record.trained_seconds

    def checkpoint(self) -> None:
        """Raises `AttemptLost` when another attempt owns the task."""
        self.record.flush()
