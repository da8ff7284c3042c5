"""One training in one process and shared by several: accuracy, speed, and what a killed process costs.

    python -m benchmarks.devices --seeds 0 1 2

Prints the tables of `benchmarks/devices.md`. The set is `sign_digits` unless `--set` names a folder.
Decoded images and the first model, which one process makes in either case, are made once and given to all
runs, so the seconds are those of fine-tuning and of what comes after it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.classification import DATA, read_set
from plugins import images, registry
from plugins.contract import Draft, Example
from tests.plugins.context import MemoryContext
from workers.ranks import launch

ALGORITHM = "classification-high-performance"


@dataclass
class Hit(MemoryContext):
    """A context in which the last of the other processes is killed when epoch `at` has ended, once."""

    at: float = np.inf
    hit_at: float = np.nan
    on_again_at: float = np.nan

    def report(self, name: str, value: float, *, epoch: float) -> None:
        """See `MemoryContext.report`."""
        super().report(name, value, epoch=epoch)
        if epoch >= self.at and np.isnan(self.hit_at):
            self.hit_at = time.monotonic() - self.started
            os.kill(max(_ranks()), signal.SIGKILL)

    def log(self, message: str) -> None:
        """See `MemoryContext.log`."""
        super().log(message)
        if message.startswith("Continuing after"):
            self.on_again_at = time.monotonic() - self.started


def _ranks() -> list[int]:
    """The processes of the running training but its first, which must live to be seen to go on."""
    children = psutil.Process().children(recursive=True)
    ranks = [one for one in children if "workers.ranks.process" in one.cmdline()]
    return [one.pid for one in ranks if one.environ().get("RANK", "0") != "0"]


@dataclass(frozen=True)
class Measured:
    """One run. `speed` is the median over epochs of training, in images a second."""

    accuracy: float
    speed: float
    seconds: float
    context: Hit = field(repr=False)


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    examples: Sequence[Example]
    data: dict[str, bytes]
    labels: tuple[str, ...]
    values: dict[str, Any]
    threads: int
    made: Path  # what every training begins with

    def prepare(self) -> None:
        """Train the first model only; its files are those of every run's first attempt."""
        with tempfile.TemporaryDirectory() as name:
            context = self._context(Path(name), {"fine_tune": False})
            registry.load(registry.algorithm(ALGORITHM)[0].trainer)(context)
            shutil.copytree(context.folder, self.made)

    def run(self, processes: int, seed: int, hit_at: float = np.inf) -> Measured:
        """Train and judge on the test side."""
        plugin, _ = registry.algorithm(ALGORITHM)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            context = self._context(folder, {"seed": seed})
            context.at = hit_at
            shutil.copytree(self.made, context.folder, dirs_exist_ok=True)
            context.started = time.monotonic()
            if processes > 1:
                draft = launch.train(plugin.trainer, context, folder / "images", processes)
            else:
                draft = registry.load(plugin.trainer)(context)
            seconds = time.monotonic() - context.started
            accuracy = self._accuracy(draft)
        speeds = [row["value"] for row in context.rows if row["name"] == "images_per_second"]
        return Measured(accuracy, statistics.median(speeds), seconds, context)

    def _context(self, folder: Path, values: dict[str, Any]) -> Hit:
        for part in ("images", "training"):
            (folder / part).mkdir()
        for one in self.examples:
            (folder / "images" / one.content_hash).write_bytes(self.data[one.key])
        _, algorithm = registry.algorithm(ALGORITHM)
        return Hit(
            folder=folder / "training",
            params=registry.parse_params(algorithm, {**self.values, **values}),
            labels=self.labels,
            snapshot=[one for one in self.examples if one.split != "test"],
            data=self.data,
            threads=self.threads,
        )

    def _accuracy(self, draft: Draft) -> float:
        plugin, _ = registry.algorithm(ALGORITHM)
        predictor = registry.load(plugin.predictor)(draft.folder, draft.model, threads=self.threads)
        test = [one for one in self.examples if one.split == "test"]
        decoded = [images.decode(self.data[one.key], wanted_side=predictor.wanted_side) for one in test]
        answers = [prediction.outputs[0].label for prediction in predictor.predict(decoded)]
        return float(np.mean([answer == one.label for answer, one in zip(answers, test, strict=True)]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, default=DATA / "sign_digits")
    parser.add_argument("--size", type=int, default=96, help="side of the network's input in pixels")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    examples, data = read_set(options.set)
    labels = tuple(sorted({str(one.label) for one in examples}))
    values = {"epochs": options.epochs, "image_size": options.size}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(examples, data, labels, values, options.threads, Path(folder) / "made")
        bench.prepare()
        _measure(bench, options)


def _measure(bench: Bench, options: argparse.Namespace) -> None:
    examples = bench.examples
    sides = {side: sum(one.split == side for one in examples) for side in ("train", "validation", "test")}
    print(f"{options.set.name}: {sides}, {options.size} pixels, {options.epochs} epochs\n")
    print("| seed | processes | test accuracy | images a second | seconds in all |\n|---|---|---|---|---|")
    for seed in options.seeds:
        for processes in (1, options.processes):
            _row(f"| {seed} | {processes}", bench.run(processes, seed))
    killed = bench.run(options.processes, options.seeds[0], hit_at=options.epochs * 2 / 3)
    _row(f"| {options.seeds[0]} | {options.processes}, one killed", killed)
    pause = killed.context.on_again_at - killed.context.hit_at
    on_again = (
        "Begun anew (no checkpoint yet)" if np.isnan(pause) else f"On again {pause:.1f} s after the kill"
    )
    print(f"\n{on_again}. The log of that run:\n")
    print("\n".join(killed.context.lines))


def _row(start: str, run: Measured) -> None:
    print(f"{start} | {run.accuracy:.1%} | {run.speed:.1f} | {run.seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
