"""Our predictor against RapidOCR's own pipeline, with the same untrained networks on hidden receipts, and
with trained ones that `benchmarks.ocr.training --keep` has written.

    python -m benchmarks.ocr.pipelines [--pages 20] [--threads 2] [--rounds 2] [--trained FOLDER]

Each pipeline runs in a process of its own, in turns, so that a change of the machine's load meets both. Both
get the same thread count and the bytes of the files; decoding counts. Time is told twice: by the clock and as
time of the processor, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.ocr import sets
from plugins import images
from plugins.contract import Example, Output, Prediction
from plugins.ocr.matching import pairs

Pipeline = Callable[[bytes], tuple[Output, ...]]
ASCII = "".join(chr(code) for code in range(33, 127))


def rapidocr(threads: int) -> Pipeline:
    """RapidOCR with its defaults."""
    from rapidocr import RapidOCR  # noqa: PLC0415  each process loads one pipeline alone

    engine: Any = RapidOCR(
        params={
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            "Global.log_level": "error",
        }
    )

    def read(data: bytes) -> tuple[Output, ...]:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert pixels is not None
        height, width = pixels.shape[:2]
        found = engine(pixels)
        if found.boxes is None:
            return ()
        fractions = (np.asarray(found.boxes, np.float64) / [width, height]).clip(0, 1).tolist()
        return tuple(
            Output(text, float(conf), tuple((x, y) for x, y in corners))
            for text, conf, corners in zip(found.txts, found.scores, fractions, strict=True)
        )

    return read


def ours(folder: Path, threads: int) -> Pipeline:
    """The predictor on a draft written before."""
    from plugins.ocr.predictor import open_predictor  # noqa: PLC0415

    predictor = open_predictor(folder, json.loads((folder / "model.json").read_text()), threads=threads)
    return lambda data: predictor.predict([images.decode(data)])[0].outputs


def drafts(folder: Path) -> dict[str, Path]:
    """The untrained base with all its characters, and cut to ASCII."""
    from plugins.ocr import bases, exporter  # noqa: PLC0415

    written = {}
    for name, characters in (("ours", None), ("ours, cut to ASCII", ASCII)):
        draft = exporter.untrained(bases.load("pp-ocrv6-small", None, True), folder / name, characters)
        (draft.folder / "model.json").write_text(json.dumps(dict(draft.model)))
        written[name] = draft.folder
    return written


def measure(pipeline: Pipeline, pages: int) -> dict[str, float]:
    """Seconds a page, F1 and memory on so many hidden receipts."""
    examples, data = sets.receipts()
    hidden = [example for example in examples if example.split == "test"][:pages]
    pipeline(data[hidden[0].key])
    results: list[tuple[Example, tuple[Output, ...]]] = []
    start, busy = time.perf_counter(), time.process_time()
    for example in hidden:
        results.append((example, pipeline(data[example.key])))
    took, worked = time.perf_counter() - start, time.process_time() - busy
    found = [pair for example, outputs in results for pair in pairs(example, Prediction(outputs))]
    total = sum(pair.region is not None for pair in found) + sum(pair.answer is not None for pair in found)
    return {
        "pages": len(hidden),
        "seconds": took / len(hidden),
        "processor": worked / len(hidden),
        "detection": 2 * sum(pair.located for pair in found) / total,
        "end_to_end": 2 * sum(pair.right for pair in found) / total,
        "megabytes": _most_memory(),
    }


def _most_memory() -> float:
    """MB of this process at its most (not getrusage's: that remembers the process it was forked from)."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Print a row for each pipeline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--trained", type=Path, metavar="FOLDER", help="a trained reader to be measured, too")
    parser.add_argument("--one", help="measure one pipeline here: a folder of a draft, or `rapidocr`")
    said = parser.parse_args()
    if said.one:
        pipeline = rapidocr(said.threads) if said.one == "rapidocr" else ours(Path(said.one), said.threads)
        print(json.dumps(measure(pipeline, said.pages)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        pipelines = {"RapidOCR": "rapidocr"} | {k: str(path) for k, path in drafts(Path(scratch)).items()}
        if said.trained:
            pipelines["ours, trained"] = str(said.trained)
        for number in range(said.rounds):
            for name, one in pipelines.items():
                command = [sys.executable, "-m", "benchmarks.ocr.pipelines", "--one", one]
                command += ["--pages", str(said.pages), "--threads", str(said.threads)]
                answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                row = json.loads(answer.splitlines()[-1])
                print(f"round {number + 1}, {name}:", {key: round(row[key], 3) for key in row}, flush=True)


if __name__ == "__main__":
    main()
