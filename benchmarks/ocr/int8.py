"""Both networks of the untrained base in int8: what the product decides, and how they are on hidden images.

    python -m benchmarks.ocr.int8 receipts_sroie [--pages 12]

Each network is quantised as after a training (ranges from training images, judged on validation images), and
then, whatever was decided, measured on hidden images: F1 of each combination, the size of each file, and how
many times faster it is on one and on two threads (medians of runs that followed each other; processor time of
the thread for one, the clock for two, which other programs on the machine disturb).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ocr.pipelines import ASCII
from benchmarks.ocr.sets import SETS
from plugins import images
from plugins.contract import Example
from plugins.ocr import bases, exporter
from plugins.ocr.evaluate import evaluate
from plugins.ocr.predictor import assembled
from plugins.ocr.predictor.network import Network
from plugins.ocr.trainer import int8, pages
from tests.plugins.context import MemoryContext

_RUNS = 10
SHOWN = ("end_to_end_f1", "detection_f1", "character_error_rate")


class Kept(int8.Work):
    """An offer that serves every network in int8, however it compares, so that it can be measured."""

    def candidates(self, name: str) -> dict[str, bytes]:
        """The network in fp32 and wholly in int8."""
        graph, _ = next(self.quantised(name))
        return {"fp32": self.graphs[name], "int8": graph}


def scores(
    model: Mapping[str, Any],
    networks: Sequence[Network],
    hidden: Sequence[Example],
    data: Mapping[str, bytes],
) -> str:
    """F1 and the like on hidden images, as cells."""
    detector, recogniser = networks
    predictor = assembled(model, detector, recogniser)
    answers = [predictor.predict([images.decode(data[one.key])])[0] for one in hidden]
    metrics = evaluate(hidden, answers).metrics
    return " | ".join(f"{metrics[name]:.4f}" for name in SHOWN)


def ratio(work: Kept, name: str, graphs: Mapping[str, bytes], threads: int) -> float:
    """How many times faster int8 is."""
    one, other = (Network(graphs[form], work.model[name]["input"], threads=threads) for form in graphs)
    clock = time.thread_time if threads == 1 else time.perf_counter
    ratios = []
    for number in range(-1, _RUNS):
        rows = work.inputs[name][number % len(work.inputs[name])]
        taken = []
        for network in (one, other):
            started = clock()
            network.run(rows)
            taken.append(clock() - started)
        if number >= 0:
            ratios.append(taken[0] / taken[1])
    return float(np.median(ratios))


def main() -> None:
    """Decide, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("set", choices=sorted(SETS))
    parser.add_argument("--pages", type=int)
    options = parser.parse_args()
    examples, data = SETS[options.set]()
    hidden = [one for one in examples if one.split == "test"][: options.pages]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draft = exporter.untrained(bases.load("pp-ocrv6-small", None, True), folder / "draft", ASCII)
        context = MemoryContext(folder, None, (), examples, data, threads=2, verbose=True)
        side, validation = (pages.pages(context, split) for split in ("train", "validation"))
        _, facts = int8.offer(context, draft.folder, draft.model, side, validation)
        for name, found in facts.items():
            print(name, {key: value for key, value in found.items() if key != "in_fp32"}, flush=True)
        work = Kept(context, draft.folder, dict(draft.model), validation.some(1))
        work.prepare(side.some(8))
        graphs = {name: work.candidates(name) for name in int8.NETWORKS}
        for name, some in graphs.items():
            sizes = " | ".join(f"{len(graph) / 1e6:.2f}" for graph in some.values())
            faster = " | ".join(f"{ratio(work, name, some, threads):.2f}" for threads in (1, 2))
            print(f"| {name} | {sizes} | {faster} |", flush=True)
        print(f"{len(hidden)} hidden images: {', '.join(SHOWN)}", flush=True)
        for forms in (("fp32", "fp32"), ("int8", "fp32"), ("fp32", "int8"), ("int8", "int8")):
            networks = [
                Network(graphs[name][form], work.model[name]["input"], threads=2)
                for name, form in zip(int8.NETWORKS, forms, strict=True)
            ]
            print(f"| {' | '.join(forms)} | {scores(draft.model, networks, hidden, data)} |", flush=True)


if __name__ == "__main__":
    main()
