"""What the decisions of a classifier are worth on images that neither training nor thresholds have seen.

    python -m benchmarks.trust --sets trashnet hymenoptera --seeds 0 1 2 [--budget 120] [--precision 0.95]

A model is trained on each set without one of its classes (a set of two classes keeps both), the last layer
alone unless `--budget` says for how many seconds the whole network is fine-tuned. It is then asked about the
test images of its classes (which share is acted on, how many of those rightly, how many are refused as unlike
the training images), about all images of the class it does not know, and about the test images of other sets
and pages with text, of which it knows no class either: there acting is always wrong.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.classification.sets import DATA, read_set
from benchmarks.ocr import sets as texts
from plugins import images, registry
from plugins.contract import Example, Prediction
from tests.plugins.context import MemoryContext

ALGORITHM = "classification-high-performance"
FOREIGN = 60  # images of another set that are asked about


@dataclass(frozen=True)
class Asked:
    """What a model decides on `images` of one kind: how many are acted on, of these `right`, and how many are
    refused as `unlike` its training images.
    """

    images: int
    acted: int
    right: int
    unlike: int

    @classmethod
    def of(cls, examples: Sequence[Example], predictions: Sequence[Prediction]) -> Asked:
        """From the decisions; every prediction must have one."""
        decisions = [one.decision for one in predictions if one.decision is not None]
        assert len(decisions) == len(examples)
        acted = [
            (one.label, example.label) for one, example in zip(decisions, examples, strict=True) if one.label
        ]
        return cls(
            len(examples),
            len(acted),
            sum(said == truth for said, truth in acted),
            sum(one.reason == "unlike_training" for one in decisions),
        )

    def __str__(self) -> str:
        return f"{self.acted} acted on, {self.right} right, {self.unlike} unlike, of {self.images}"


def held_out(labels: Sequence[str], seed: int) -> str | None:
    """The class that a model does not get to know; another one with each seed."""
    return labels[seed % len(labels)] if len(labels) > 2 else None


def trained(
    folder: Path,
    examples: Sequence[Example],
    data: Mapping[str, bytes],
    options: argparse.Namespace,
    seed: int,
) -> Any:
    """The predictor of a model trained on these images as a worker trains it."""
    plugin, algorithm = registry.algorithm(ALGORITHM)
    values = {"seed": seed, "fine_tune": options.budget is not None, "precision": options.precision}
    context = MemoryContext(
        folder=folder,
        params=registry.parse_params(algorithm, values),
        labels=tuple(sorted({str(one.label) for one in examples})),
        snapshot=[one for one in examples if one.split != "test"],
        data=dict(data),
        threads=options.threads,
        budget=options.budget or math.inf,
    )
    draft = registry.load(plugin.trainer)(context)
    return registry.load(plugin.predictor)(draft.folder, draft.model, threads=options.threads)


def asked(predictor: Any, examples: Sequence[Example], data: Mapping[str, bytes]) -> Asked:
    """What the model decides on these images."""
    decoded = [images.decode(data[one.key], wanted_side=predictor.wanted_side) for one in examples]
    return Asked.of(examples, predictor.predict(decoded))


def measured(name: str, seed: int, options: argparse.Namespace) -> Iterator[tuple[str, Asked]]:
    """What one model decides, by what it is asked about."""
    examples, data = read_set(DATA / name)
    unknown = held_out(sorted({str(one.label) for one in examples}), seed)
    known = [one for one in examples if one.label != unknown]
    with tempfile.TemporaryDirectory() as folder:
        predictor = trained(Path(folder), known, data, options, seed)
        yield "its own test images", asked(predictor, [one for one in known if one.split == "test"], data)
        if unknown is not None:
            strangers = [one for one in examples if one.label == unknown]
            yield f"the class {unknown}, which it does not know", asked(predictor, strangers, data)
        for other in options.sets:
            if other != name:
                some, others = read_set(DATA / other)
                yield other, asked(predictor, [one for one in some if one.split == "test"][:FOREIGN], others)
        for other, read in sorted(texts.SETS.items()):
            some, others = read()
            yield other, asked(predictor, some[:FOREIGN], others)


def main() -> None:
    """Train, ask and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(one.name for one in DATA.iterdir() if one.is_dir()) if DATA.is_dir() else []
    parser.add_argument("--sets", nargs="+", default=names)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--budget", type=float, help="seconds of fine-tuning; the last layer alone")
    parser.add_argument(
        "--precision", type=float, default=0.9, help="how often what is acted on shall be right"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if missing := [name for name in options.sets or ["any set"] if not (DATA / name).is_dir()]:
        parser.error(f"{DATA} lacks {', '.join(missing)}; SIGHTLOOP_BENCH_DATA names the folder of the sets")
    for seed in options.seeds:
        for name in options.sets:
            for what, found in measured(name, seed, options):
                print(f"{name}, seed {seed} | {what} | {found}", flush=True)


if __name__ == "__main__":
    main()
