"""One run: a method on a set with a seed and a budget, in a process of its own."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.classification import results
from benchmarks.classification.measuring import Clock, Kind, Machine, Outcome, Task, accuracy, score
from benchmarks.classification.results import Result
from benchmarks.classification.sets import read_set
from plugins.contract import PluginError


@dataclass(frozen=True)
class Job:
    """One run: what makes it different from the others, and how it is measured."""

    folder: Path
    method: str
    seed: int
    budget: float
    clock: Kind
    threads: int
    values: tuple[tuple[str, str], ...] = ()
    verbose: bool = False

    @property
    def name(self) -> str:
        """The method with parameters that are not the default."""
        return " ".join([self.method, *(f"{key}={value}" for key, value in self.values)])

    @property
    def key(self) -> results.Key:
        """See `Result.key`."""
        return self.folder.name, self.name, self.seed, self.budget, self.clock, self.threads


def measure(job: Job) -> Result:
    """Train once, in a process of its own. Raises `ValueError` with a sentence."""
    import torch  # noqa: PLC0415 - in this process only

    torch.set_num_threads(job.threads)
    examples, data = read_set(job.folder)
    labels = tuple(sorted({str(one.label) for one in examples}))
    _run_for(job)  # imports what it needs before the clock starts
    machine = Machine()
    clock = Clock(job.clock, job.threads)
    task = Task(
        examples, data, labels, job.seed, job.budget, job.threads, clock, dict(job.values), job.verbose
    )
    try:
        outcome = _run_for(job)(task)
    except PluginError as error:  # which cannot be sent to another process
        raise ValueError(str(error)) from None
    return Result(
        *job.key,
        seconds=round(outcome.seconds, 2),
        first_seconds=None if outcome.first_seconds is None else round(outcome.first_seconds, 2),
        images_per_s=round(outcome.images_per_s, 2),
        **score(outcome.test, task.targets("test")),
        validation=accuracy(outcome.validation, task.targets("validation")),
        images={side: len(task.side(side)) for side in ("train", "validation", "test")},
        curve=[[_number(value) for value in asdict(point).values()] for point in outcome.curve],
        facts=outcome.facts,
        machine=machine.used(),
        revision=_revision(),
    )


def _run_for(job: Job) -> Callable[[Task], Outcome]:
    """The method's function; loading it here keeps the others' libraries out of this process."""
    kind, _, rate = job.method.partition(" ")
    if kind == "linear":
        from benchmarks.classification import linear  # noqa: PLC0415

        return linear.run
    if kind == "plain":
        from benchmarks.classification import plain  # noqa: PLC0415

        return partial(plain.run, rate=float(rate))
    if kind == "fastai":
        from benchmarks.classification import fastai_tune  # noqa: PLC0415

        return fastai_tune.run
    from benchmarks.classification import ours  # noqa: PLC0415

    return partial(ours.run, algorithm_name=f"classification-{job.method}")


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _revision() -> str:
    """The commit that was measured, with a + when files differ from it."""
    answer = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    return answer.stdout.strip() or "unknown"
