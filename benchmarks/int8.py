"""The int8 model against fp32 on test images that training never saw: accuracy, size, speed.

    python -m benchmarks.int8 --sets trashnet --keep /var/tmp/trained

Each set is trained once, the last layer alone unless `--budget` says for how many seconds the whole network
is fine-tuned; `--keep` names a folder where trainings are kept and found again. Beside the product's int8
stand what ONNX Runtime's quantiser makes by itself, with weights of 8 bits and of 7 (`reduce_range`), and the
product's without bias correction. Speeds are processor times of all threads of one call in turns with fp32,
so that other work on the machine counts little; ratios are medians with quartiles.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData

from benchmarks.classification.sets import DATA, read_set
from plugins import registry
from plugins.classification import cache, int8
from plugins.classification.int8 import comparison
from plugins.quantisation import quantiser
from plugins.quantisation.quantiser import Statistics
from plugins.sessions import open_session
from tests.plugins.context import MemoryContext

ALGORITHM = "classification-high-performance"
Sides = dict[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]


def trained(name: str, keep: Path, budget: float | None) -> tuple[Path, dict[str, Any], Sides]:
    """The draft's folder, its model part, and the images and classes of each side."""
    folder = keep / name
    if not (folder / "model.json").is_file():
        _train(name, folder, budget)
    sides = {}
    for side in ("train", "validation", "test"):
        with np.load(folder / f"{side}.npz") as arrays:
            sides[side] = (arrays["x"], arrays["y"])
    return folder / "draft", json.loads((folder / "model.json").read_text()), sides


def _train(name: str, folder: Path, budget: float | None) -> None:
    examples, data = read_set(DATA / name)
    plugin, algorithm = registry.algorithm(ALGORITHM)
    context = MemoryContext(
        folder=folder,
        params=registry.parse_params(algorithm, {"fine_tune": budget is not None}),
        labels=tuple(sorted({str(one.label) for one in examples})),
        snapshot=examples,
        data=data,
        threads=2,
        budget=budget or math.inf,
    )
    draft = registry.load(plugin.trainer)(context)
    for side in ("train", "validation", "test"):
        images = cache.decode(context, side, int(draft.model["image_size"]))
        np.savez(folder / f"{side}.npz", x=images.plain, y=images.targets)
    (folder / "model.json").write_text(json.dumps({**draft.model, "file": "model.onnx"}))


def plain(model: onnx.ModelProto, statistics: Statistics, *, reduced: bool) -> bytes:
    """What ONNX Runtime's quantiser makes by itself, from the same ranges."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    ranges = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in statistics.ranges.items()
    }
    quantiser = QDQQuantizer(
        copy,
        True,  # per channel
        reduced,
        QuantType.QInt8,
        QuantType.QUInt8,
        TensorsData(CalibrationMethod.MinMax, ranges),
        [],
        [],
        ["Conv", "Clip", "Add"],
        {},
    )
    quantiser.quantize_model()
    made: bytes = quantiser.model.model.SerializeToString()
    return made


def variants(graph: bytes, images: npt.NDArray[np.uint8]) -> Iterator[tuple[str, bytes]]:
    """The ways to quantise, by name."""
    model = quantiser.read(graph)
    statistics = quantiser.observe(model, [images], threads=2, stop=lambda: False)
    yield "ONNX Runtime, 8 bits", plain(model, statistics, reduced=False)
    yield "ONNX Runtime, 7 bits", plain(model, statistics, reduced=True)
    still = Statistics(
        statistics.ranges, {name: np.zeros_like(mean) for name, mean in statistics.means.items()}
    )
    yield "ours, bias as it was", quantiser.quantise(model, still).SerializeToString()
    yield "ours", quantiser.quantise(model, statistics).SerializeToString()


def answers(graph: bytes, rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The probabilities of all rows."""
    return comparison.probabilities(open_session(graph, threads=2), rows, stop=lambda: False)


def ratio(fp32: bytes, other: bytes, rows: npt.NDArray[np.uint8], threads: int, batch: int) -> str:
    """How many times faster, and the milliseconds of an image in both."""
    sessions = [open_session(graph, threads=threads) for graph in (fp32, other)]
    clock: Callable[[], float] = time.thread_time if threads == 1 else time.process_time
    seconds: list[list[float]] = [[], []]
    chosen = np.ascontiguousarray(rows[:batch])
    for number in range(-2, max(40 // batch, 6)):
        for session, record in zip(sessions, seconds, strict=True):
            started = clock()
            session.run(["probabilities"], {"images": chosen})
            if number >= 0:
                record.append((clock() - started) / batch)
    one, two = (np.array(record) for record in seconds)
    low, middle, high = np.percentile(one / two, (25, 50, 75))
    return (
        f"{middle:.2f} ({low:.2f} to {high:.2f}), {1e3 * np.median(one):.1f} / {1e3 * np.median(two):.1f} ms"
    )


def measure(name: str, keep: Path, budget: float | None) -> None:
    """Print the rows of a set."""
    folder, model, sides = trained(name, keep, budget)
    graph = (folder / "model.onnx").read_bytes()
    rows, targets = sides["test"]
    fp32 = answers(graph, rows)
    accuracy = 100 * comparison.accuracy(fp32, targets)
    print(f"| {name} ({len(rows)}) | fp32 | {len(graph) / 1e6:.2f} | {accuracy:.1f} | | |", flush=True)
    made = b""
    for title, made in variants(graph, sides["train"][0][:16]):
        given = answers(made, rows)
        agreed = comparison.agreement(fp32, given)
        print(
            f"| {name} ({len(rows)}) | {title} | {len(made) / 1e6:.2f} "
            f"| {100 * comparison.accuracy(given, targets):.1f} | {100 * agreed.agreement:.1f} "
            f"| {agreed.difference:.3f} |",
            flush=True,
        )
    for threads, batch in ((1, 1), (1, 16), (2, 1), (2, 16)):
        speed = ratio(graph, made, rows, threads, batch)
        print(f"{name}: {threads} threads, batches of {batch}: {speed}", flush=True)
    validation, wanted = sides["validation"]
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "model.onnx").write_bytes(graph)
        started, used = time.monotonic(), time.process_time()
        outcome = int8.offer(
            Path(scratch),
            model,
            calibration=sides["train"][0],
            validation=validation,
            targets=wanted,
            threads=2,
            stop=lambda: False,
            log=print,
        )
    spent = f"{time.monotonic() - started:.1f} s, {time.process_time() - used:.1f} s of processor time"
    print(f"{name}: offered in {spent}: {json.dumps(outcome.facts)}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sorted(path.name for path in DATA.iterdir() if path.is_dir()) if DATA.is_dir() else []
    parser.add_argument("--sets", nargs="+", default=known)
    parser.add_argument(
        "--budget", type=float, help="seconds of fine-tuning; without it the last layer alone"
    )
    parser.add_argument("--keep", type=Path, help="folder of trainings")
    options = parser.parse_args()
    print(
        "| set (test images) | form | MB | test % | same answer % | difference |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.sets:
            measure(name, options.keep or Path(scratch), options.budget)


if __name__ == "__main__":
    main()
