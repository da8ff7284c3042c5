"""Readers of others beside the untrained base: the same hidden images, the same F1.

    python -m benchmarks.ocr.others receipts_sroie --rapidocr VENV/bin/python --tesseract [--pages 20]

RapidOCR 1.4.4 cannot live beside the release that the base comes with, so it runs in the Python of a virtual
environment of its own (`pip install rapidocr-onnxruntime==1.4.4`); `tesseract` is the program of that name.
All get two threads.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.ocr import pipelines, sets
from plugins.contract import Example, Output, Prediction
from plugins.ocr.evaluate import evaluate

SHOWN = ("end_to_end_f1", "end_to_end_f1_strict", "detection_f1", "character_error_rate")
_THREADS = 2
_RAPIDOCR = """
import json, sys, time
from rapidocr_onnxruntime import RapidOCR
engine = RapidOCR(intra_op_num_threads=2, inter_op_num_threads=1)
for path in map(str.strip, sys.stdin):
    started = time.process_time()
    found, _ = engine(path)
    rows = [([[*map(float, one)] for one in box], text, float(sure)) for box, text, sure in found or []]
    print(json.dumps({"rows": rows, "seconds": time.process_time() - started}), flush=True)
"""
_WORD = "5"  # level of a row of Tesseract's table
Answer = tuple[tuple[Output, ...], float]  # and seconds of the processor
Ask = Callable[[Path, Example], Answer]


@contextmanager
def rapidocr(python: str) -> Iterator[Ask]:
    """RapidOCR with its defaults in another Python."""
    command = [python, "-c", _RAPIDOCR]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def ask(path: Path, example: Example) -> Answer:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            said = json.loads(process.stdout.readline())
            outputs = (
                Output(text, sure, _fractions(points, example)) for points, text, sure in said["rows"] if text
            )
            return tuple(outputs), said["seconds"]

        yield ask
        process.stdin.close()


def tesseract(path: Path, example: Example) -> Answer:
    """Tesseract looking for sparse text (`--psm 11`); its words joined to its lines."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    table = subprocess.run(
        ["tesseract", str(path), "-", "--psm", "11", "tsv"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_THREAD_LIMIT": str(_THREADS)},
    ).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE):
        if row["level"] == _WORD and row["text"].strip():
            lines.setdefault((row["block_num"], row["par_num"], row["line_num"]), []).append(row)
    outputs = []
    for words in lines.values():
        left, top = (min(int(word[name]) for word in words) for name in ("left", "top"))
        right = max(int(word["left"]) + int(word["width"]) for word in words)
        bottom = max(int(word["top"]) + int(word["height"]) for word in words)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        sure = sum(float(word["conf"]) for word in words) / len(words) / 100
        outputs.append(Output(" ".join(word["text"] for word in words), sure, _fractions(corners, example)))
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return tuple(outputs), seconds


@contextmanager
def ours() -> Iterator[Ask]:
    """The untrained base with all its characters, as it is served."""
    with tempfile.TemporaryDirectory() as scratch:
        read = pipelines.ours(pipelines.drafts(Path(scratch))["ours"], _THREADS)

        def ask(path: Path, _: Example) -> Answer:
            started = time.process_time()
            outputs = read(path.read_bytes())
            return outputs, time.process_time() - started

        yield ask


def _fractions(points: Sequence[Sequence[float]], example: Example) -> tuple[tuple[float, float], ...]:
    return tuple(
        (min(max(x / example.width, 0.0), 1.0), min(max(y / example.height, 0.0), 1.0)) for x, y in points
    )


def row(name: str, ask: Ask, folder: Path, hidden: Sequence[Example]) -> str:
    """The metrics of one reader as a row."""
    answers = [ask(folder / example.key, example) for example in hidden]
    metrics = evaluate(hidden, [Prediction(outputs) for outputs, _ in answers]).metrics
    seconds = sum(taken for _, taken in answers) / len(answers)
    return f"| {name} | {' | '.join(f'{metrics[key]:.3f}' for key in SHOWN)} | {seconds:.2f} |"


def main() -> None:
    """Print a row for each reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("set", choices=sorted(sets.SETS))
    parser.add_argument("--rapidocr", help="the Python that has RapidOCR 1.4.4")
    parser.add_argument("--tesseract", action="store_true")
    parser.add_argument("--pages", type=int)
    options = parser.parse_args()
    examples, _ = sets.SETS[options.set]()
    hidden = [example for example in examples if example.split == "test"][: options.pages]
    folder = sets.DATA / options.set
    print(f"{len(hidden)} images\n\n| reader | {' | '.join(SHOWN)} | s of the processor |", flush=True)
    with ours() as ask:
        print(row("base", ask, folder, hidden), flush=True)
    if options.rapidocr:
        with rapidocr(options.rapidocr) as ask:
            print(row("RapidOCR 1.4.4", ask, folder, hidden), flush=True)
    if options.tesseract:
        print(row("Tesseract", tesseract, folder, hidden), flush=True)


if __name__ == "__main__":
    main()
