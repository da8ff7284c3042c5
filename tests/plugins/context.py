"""A training context in memory, for tests and benchmarks."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugins.contract import Example, Previous, Split, TrainingStopped


@dataclass
class MemoryContext:
    """See `plugins.contract.TrainingContext`. After `stop_at` questions whether to stop the user asks to
    stop; `discard` says how.
    """

    folder: Path
    params: Any
    labels: tuple[str, ...]
    snapshot: Sequence[Example]
    data: dict[str, bytes]
    algorithm: str = "classification-high-performance"
    device: str = "cpu"
    threads: int = 1
    previous: Previous | None = None
    weights: Path = Path("no-such-folder")
    offline: bool = True
    budget: float = math.inf
    stop_at: int | None = None
    discard: bool = False
    verbose: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    asked: int = 0
    started: float = field(default_factory=time.monotonic)

    def examples(self, split: Split) -> Sequence[Example]:
        return [example for example in self.snapshot if example.split == split]

    def read(self, example: Example) -> bytes:
        return self.data[example.key]

    def report(self, name: str, value: float, *, epoch: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        self.rows.append(
            {"name": name, "value": value, "epoch": epoch, "at": time.monotonic() - self.started}
        )

    def fact(self, name: str, value: Any) -> None:
        self.facts[name] = value

    def log(self, message: str) -> None:
        self.lines.append(message)
        if self.verbose:
            print(f"{time.monotonic() - self.started:7.1f} s  {message}", flush=True)  # noqa: T201

    def should_stop(self) -> bool:
        return self.stop_requested() or self.time_left() <= 0

    def stop_requested(self) -> bool:
        self.asked += 1
        asked_to_stop = self.stop_at is not None and self.asked >= self.stop_at
        if asked_to_stop and self.discard:
            raise TrainingStopped("stopped, and nothing is kept")
        return asked_to_stop

    def time_left(self) -> float:
        return self.budget - (time.monotonic() - self.started)

    def checkpoint(self) -> None:
        pass


def example(key: str, data: bytes, label: str, split: Split, group: str = "") -> Example:
    """An example of these bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return Example(key, digest[:32], len(data), digest, split, label, group=group)
