"""Our algorithms, trained as a worker trains them and judged through the predictor that will serve the
model.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.classification.measuring import Clock, Outcome, Point, Probabilities, Task
from plugins import images, registry
from plugins.contract import Example, Prediction
from tests.plugins.context import MemoryContext


@dataclass
class TimedContext(MemoryContext):
    """A training context whose budget is counted by the benchmark's clock."""

    clock: Clock = field(default_factory=Clock)

    def report(self, name: str, value: float, *, epoch: float) -> None:
        """See `MemoryContext.report`; with the seconds of this clock."""
        super().report(name, value, epoch=epoch)
        self.rows[-1]["at"] = self.clock.elapsed()

    def time_left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - self.clock.elapsed()


def run(task: Task, algorithm_name: str) -> Outcome:
    """Train within the budget; a budget of 0 trains the first model only, for as long as that takes.

    Raises `plugins.contract.PluginError`.
    """
    with task.clock.paused():
        plugin, algorithm = registry.algorithm(algorithm_name)
        train, open_predictor = registry.load(plugin.trainer), registry.load(plugin.predictor)
    values: dict[str, Any] = {
        "seed": task.seed,
        **({} if task.budget else {"fine_tune": False}),
        **task.values,
    }
    with tempfile.TemporaryDirectory() as folder:
        context = TimedContext(
            folder=Path(folder),
            params=registry.parse_params(algorithm, values),
            labels=task.labels,
            snapshot=[one for one in task.examples if one.split != "test"],
            data=task.data,
            algorithm=algorithm_name,
            threads=task.threads,
            budget=task.budget or math.inf,
            verbose=task.verbose,
            clock=task.clock,
        )
        draft = train(context)
        seconds = task.clock.elapsed()
        predictor = open_predictor(draft.folder, draft.model, threads=task.threads)
        test, validation = (
            _probabilities(task, predictor, task.side(side)) for side in ("test", "validation")
        )
    first = next((row["at"] for row in context.rows if row["epoch"] == 0), None)
    # The test side is not looked at on the way; the validation side is, by the training itself.
    curve = [
        Point(row["at"], math.nan, row["value"])
        for row in context.rows
        if row["name"] == "validation_accuracy"
    ]
    seen = context.facts.get("epochs", 0) * len(task.side("train"))
    speed = seen / (seconds - (first or 0)) if task.budget else 0.0
    return Outcome(test, validation, seconds, speed, curve, dict(context.facts), first)


def _probabilities(task: Task, predictor: Any, examples: Sequence[Example]) -> Probabilities:
    decoded = [images.decode(task.data[one.key], wanted_side=predictor.wanted_side) for one in examples]
    predictions: list[Prediction] = predictor.predict(decoded)
    places = {label: number for number, label in enumerate(task.labels)}
    table = np.zeros((len(examples), len(task.labels)))
    for row, prediction in zip(table, predictions, strict=True):
        for output in prediction.outputs:
            row[places[output.label]] = output.conf
    return table
