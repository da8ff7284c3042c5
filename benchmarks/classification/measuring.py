"""What every method is measured with: one clock, one way to score, and what else the machine was doing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import psutil

from plugins.contract import Example, Split

Kind = Literal["wall", "cpu"]
Probabilities = npt.NDArray[np.floating[Any]]
_BINS = 15


class Clock:
    """Seconds of training: of the wall, or CPU time of this process divided by its threads, which other
    work on the machine hardly changes. It stands still inside of `paused`.
    """

    def __init__(self, kind: Kind = "wall", threads: int = 1) -> None:
        self.kind, self.threads = kind, threads
        self._since, self._held = self._now(), 0.0

    def _now(self) -> float:
        return time.monotonic() if self.kind == "wall" else time.process_time() / self.threads

    def elapsed(self) -> float:
        """Seconds since the start, pauses not counted."""
        return self._now() - self._since - self._held

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done here costs nothing: looking at the test side, which no user would do."""
        started = self._now()
        try:
            yield
        finally:
            self._held += self._now() - started


class Machine:
    """What the cores did from here on: `wall` and `cpu` seconds of this process, and how many `others`
    used.
    """

    def __init__(self) -> None:
        self.load = os.getloadavg()[0]
        self._wall, self._cpu, self._busy = time.monotonic(), time.process_time(), _busy()

    def used(self) -> dict[str, float]:
        """`others` is in cores: 0.3 and more means that the run was disturbed."""
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        others = max(0.0, (_busy() - self._busy - cpu) / wall)
        return {
            "wall": round(wall, 1),
            "cpu": round(cpu, 1),
            "others": round(others, 2),
            "load": round(self.load, 2),
        }


def _busy() -> float:
    """Seconds of work of all cores since the machine started."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name) for name in ("user", "nice", "system", "irq", "softirq")))


@dataclass(frozen=True)
class Task:
    """What a method is given: the labelled images by side, `labels` sorted, a seed and a budget in seconds.

    Nobody may learn or choose by the test side; it is there to be scored.
    """

    examples: Sequence[Example]
    data: dict[str, bytes]
    labels: tuple[str, ...]
    seed: int
    budget: float
    threads: int
    clock: Clock
    values: dict[str, str] = field(default_factory=dict)
    verbose: bool = False

    def side(self, split: Split) -> list[Example]:
        """The examples of a side, in a fixed order."""
        return [one for one in self.examples if one.split == split]

    def targets(self, split: Split) -> npt.NDArray[np.int64]:
        """Their classes as places in `labels`."""
        places = {label: number for number, label in enumerate(self.labels)}
        return np.array([places[str(one.label)] for one in self.side(split)], np.int64)

    def log(self, message: str) -> None:
        """Say it, when asked to."""
        if self.verbose:
            print(f"{self.clock.elapsed():7.1f} s  {message}", flush=True)


@dataclass(frozen=True)
class Point:
    """A place of a curve: after so many seconds of training, shares of right answers on both sides."""

    seconds: float
    accuracy: float
    validation: float


@dataclass(frozen=True)
class Outcome:
    """What a method returns: class probabilities of both sides, seconds of training, images trained on a
    second, and what was on the way.
    """

    test: Probabilities
    validation: Probabilities
    seconds: float
    images_per_s: float
    curve: Sequence[Point] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    first_seconds: float | None = None


def accuracy(probabilities: Probabilities, targets: npt.NDArray[np.int64]) -> float:
    """The share of right answers; 0 without images."""
    return float((probabilities.argmax(1) == targets).mean()) if len(targets) else 0.0


def score(probabilities: Probabilities, targets: npt.NDArray[np.int64]) -> dict[str, Any]:
    """`accuracy` as a share, `log_loss` in nats, `ece`, and `right`: a 1 or 0 an image, for paired
    comparisons.

    ECE: the mean distance of confidence and accuracy over 15 bins of equal width (Guo et al.,
    arXiv:1706.04599).
    """
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == targets
    given = probabilities[np.arange(len(targets)), targets]
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, confidence - right, minlength=_BINS)
    return {
        "accuracy": float(right.mean()),
        "log_loss": float(-np.log(np.maximum(given, 1e-7)).mean()),
        "ece": float(np.abs(gaps).sum() / len(targets)),
        "right": "".join("1" if one else "0" for one in right),
    }
