"""A reader after training, beside the base it came from, on images that neither has seen.

    python -m benchmarks.ocr.training receipts_sroie --minutes 45 --seed 0 [--keep FOLDER]

Prints a row for the base as it is and one for the trained reader, as `benchmarks/ocr.md` shows them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ocr.sets import SETS
from plugins import images, registry
from plugins.contract import Example
from plugins.ocr import bases, exporter
from tests.plugins.context import MemoryContext

ALGORITHM = "ocr-high-performance"
SHOWN = ("end_to_end_f1", "end_to_end_f1_strict", "detection_f1", "exact_match", "character_error_rate")


def judge(
    folder: Path, model: Mapping[str, Any], test: Sequence[Example], data: Mapping[str, bytes], threads: int
) -> str:
    """The cells of one row: the metrics, and images a second with decoding."""
    plugin, _ = registry.algorithm(ALGORITHM)
    predictor = registry.load(plugin.predictor)(folder, model, threads=threads)
    started = time.monotonic()
    answers = [predictor.predict([images.decode(data[one.key])])[0] for one in test]
    speed = len(test) / (time.monotonic() - started)
    metrics = registry.load(plugin.evaluator)(test, answers).metrics
    return " | ".join([*(f"{metrics[name]:.3f}" for name in SHOWN), f"{speed:.2f}"])


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--keep", type=Path, help="folder for the trained files, for benchmarks.ocr.pipelines"
    )
    options = parser.parse_args()
    examples, data = SETS[options.set]()
    test = [one for one in examples if one.split == "test"]
    plugin, algorithm = registry.algorithm(ALGORITHM)
    print(f"| reader | {' | '.join(SHOWN)} | images/s |\n|---|{'---|' * (len(SHOWN) + 1)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = exporter.untrained(bases.load("pp-ocrv6-small", None, True), folder / "base")
        print(f"| base | {judge(base.folder, base.model, test, data, options.threads)} |", flush=True)
        context = MemoryContext(
            folder=folder / "training",
            params=registry.parse_params(algorithm, {"seed": options.seed}),
            labels=(),
            snapshot=[one for one in examples if one.split != "test"],
            data=data,
            algorithm=ALGORITHM,
            device=options.device,
            threads=options.threads,
            budget=60 * options.minutes,
            verbose=True,
        )
        draft = registry.load(plugin.trainer)(context)
        took = (time.monotonic() - context.started) / 60
        if options.keep:
            (draft.folder / "model.json").write_text(json.dumps(dict(draft.model)))
            shutil.copytree(draft.folder, options.keep, dirs_exist_ok=True)
        cells = judge(draft.folder, draft.model, test, data, options.threads)
        print(f"| trained, {took:.0f} minutes, seed {options.seed} | {cells} |\n\n{dict(context.facts)}")


if __name__ == "__main__":
    main()
