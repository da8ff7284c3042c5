"""Accuracy and time of the classifier on real images, beside a linear layer on features.

    python -m benchmarks.classification --sets trashnet --budgets 60 600 --seeds 0 1

For each set of $SIGHTLOOP_BENCH_DATA/classification (default ../shared/data) the test side of `split.tsv` is
never seen in training; a tenth of the train side, stratified, is cut off for validation.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from plugins import images, registry
from plugins.contract import Draft, Evaluation, Example, Split
from tests.plugins.context import MemoryContext, example

DATA = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "classification"
ALGORITHM = "classification-high-performance"


@dataclass(frozen=True)
class Row:
    """One measured training: accuracies in percent, times in seconds."""

    name: str
    method: str
    seed: int
    test: float
    validation: float
    seconds: float
    note: str = ""


def read_set(folder: Path) -> tuple[list[Example], dict[str, bytes]]:
    """The examples of a set and their bytes; what cannot be decoded is left out, as the check does it."""
    sides: dict[str, str] = {}
    for line in (folder / "split.tsv").read_text().splitlines()[1:]:
        name, side = line.split("\t")
        sides[name] = "test" if side in ("test", "val") else "train"
    data = {name: (folder / name).read_bytes() for name in sorted(sides) if _readable(folder / name)}
    validation = set(_tenth({name: Path(name).parent.name for name in data if sides[name] == "train"}))
    examples = []
    for name, content in data.items():
        split: Split = "test" if sides[name] == "test" else "validation" if name in validation else "train"
        examples.append(example(name, content, Path(name).parent.name, split))
    return examples, data


def _readable(path: Path) -> bool:
    try:
        images.decode(path.read_bytes(), wanted_side=32)
    except (images.ImageError, OSError):
        return False
    return True


def _tenth(labels: dict[str, str]) -> Iterator[str]:
    """A tenth of each class, at least one, by the hash of the name."""
    classes: dict[str, list[str]] = defaultdict(list)
    for name, label in labels.items():
        classes[label].append(name)
    for names in classes.values():
        names.sort(key=lambda name: hashlib.sha256(name.encode()).hexdigest())
        yield from names[: max(1, round(len(names) / 10))]


def measure(name: str, seed: int, budget: float, values: dict[str, Any], *, verbose: bool) -> Row:
    """Train once and evaluate on the test side through the predictor."""
    examples, data = read_set(DATA / name)
    plugin, algorithm = registry.algorithm(ALGORITHM)
    with tempfile.TemporaryDirectory() as folder:
        context = MemoryContext(
            folder=Path(folder),
            params=registry.parse_params(algorithm, {"seed": seed, **values}),
            labels=tuple(sorted({str(one.label) for one in examples})),
            snapshot=examples,
            data=data,
            threads=2,
            budget=budget,
            verbose=verbose,
        )
        started = time.monotonic()
        draft: Draft = registry.load(plugin.trainer)(context)
        seconds = time.monotonic() - started
        test, validation = (_evaluate(plugin, context, draft, split) for split in ("test", "validation"))
    note = f"{context.facts['stage']}, first model {context.facts['head_seconds']} s"
    method = " ".join([f"{budget:.0f} s", *(f"{key}={value}" for key, value in values.items())])
    return Row(
        name,
        method,
        seed,
        100 * test.metrics["accuracy"],
        100 * validation.metrics["accuracy"],
        seconds,
        note,
    )


def _evaluate(plugin: Any, context: MemoryContext, draft: Draft, split: Split) -> Evaluation:
    predictor = registry.load(plugin.predictor)(draft.folder, draft.model, threads=context.threads)
    examples = context.examples(split)
    decoded = [images.decode(context.read(one), wanted_side=predictor.wanted_side) for one in examples]
    evaluation: Evaluation = registry.load(plugin.evaluator)(examples, predictor.predict(decoded))
    return evaluation


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sets", nargs="+", default=sorted(path.name for path in DATA.iterdir() if path.is_dir())
    )
    parser.add_argument("--budgets", nargs="+", type=float, default=[600.0], help="seconds")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--set", dest="values", nargs="*", default=[], metavar="PARAMETER=VALUE")
    parser.add_argument("--no-head", action="store_true", help="leave out the last layer alone")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    values = dict(entry.split("=", 1) for entry in options.values)
    print(
        "| set | method | seed | test % | validation % | seconds | kept |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    tests = defaultdict(list)
    for name in options.sets:
        for seed in options.seeds:
            trials = [] if options.no_head else [(math.inf, {**values, "fine_tune": False})]
            trials += [(budget, values) for budget in options.budgets]
            for budget, chosen in trials:
                row = measure(name, seed, budget, chosen, verbose=options.verbose)
                tests[row.method].append(row.test)
                print(
                    f"| {row.name} | {row.method} | {row.seed} | {row.test:.1f} | {row.validation:.1f} "
                    f"| {row.seconds:.0f} | {row.note} |",
                    flush=True,
                )
    for method, values_of in tests.items():
        print(f"| mean | {method} | | {np.mean(values_of):.1f} | | | |", flush=True)


if __name__ == "__main__":
    main()
