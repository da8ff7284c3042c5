"""What to label next against a random order, and planted wrong labels: the figures of `labels.md`.

    python -m benchmarks.labels --set trashnet > trashnet.jsonl
    python -m benchmarks.labels --draw trashnet.jsonl sign_digits.jsonl > benchmarks/labels.svg

By the features of the pretrained network and its last layer alone, as `datasets next` and `datasets doubts`
do before there is a model. Features are kept in --keep.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from plugins.classification import head, selection
from plugins.classification.bases.pretrained import open_pretrained
from plugins.images import Limits, decode

DATA = Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data")) / "classification"
BUDGETS = range(20, 301, 20)  # both sets have a pool of a little over 300 images
WRONG = 0.05
TEST = 0.25
_BATCH = 32
_ENDINGS = (".jpg", ".jpeg", ".png")

Floats = npt.NDArray[np.float32]
Names = npt.NDArray[np.str_]


def main() -> None:
    """Print the figures of one set as JSON, a line a seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="trashnet")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--keep", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--draw", type=Path, nargs="+", help="write the plot of these figures as SVG instead")
    options = parser.parse_args()
    if options.draw:
        sys.stdout.write(drawn([figures(path) for path in options.draw]))
        return
    features, names = seen(DATA / options.set, options.keep / f"labels-{options.set}.npz", options.threads)
    for seed in options.seeds:
        print(json.dumps({"set": options.set, "seed": seed, **doubts(features, names, seed)}), flush=True)
    for seed in options.seeds:
        print(json.dumps({"set": options.set, "seed": seed, **curves(features, names, seed)}), flush=True)


def seen(folder: Path, kept: Path, threads: int) -> tuple[Floats, Names]:
    """Features and class names of the images of a folder, computed once."""
    if kept.exists():
        with np.load(kept) as found:
            return found["features"], found["names"]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _ENDINGS)
    limits = Limits(100_000_000, 100_000_000)
    sides = [min(decode(path.read_bytes(), limits=limits).image.size) for path in paths[::50]]
    _, embedder = open_pretrained(shorter_side=float(np.median(sides)), threads=threads)
    rows = []
    for start in range(0, len(paths), _BATCH):
        batch = [path.read_bytes() for path in paths[start : start + _BATCH]]
        side = embedder.wanted_side
        rows.append(embedder.embed([decode(data, wanted_side=side, limits=limits) for data in batch]))
    features = np.concatenate(rows)
    names = np.array([path.relative_to(folder).parts[0] for path in paths])
    np.savez(kept, features=features, names=names)
    return features, names


def curves(features: Floats, names: Names, seed: int) -> dict[str, object]:
    """Accuracy on a test part by the number of labels, in our order and in one drawn at random."""
    drawn = np.random.default_rng(seed).permutation(len(names))
    test, pool = np.split(drawn, [round(TEST * len(names))])
    parts = _ordered(features[pool], names, pool, seed)
    return {
        "pool": len(pool),
        "all": accuracy(features, names, pool, test),
        "ours": [accuracy(features, names, part, test) for part in parts],
        "random": [accuracy(features, names, pool[:budget], test) for budget in BUDGETS],
    }


def _ordered(rows: Floats, names: Names, pool: npt.NDArray[np.intp], seed: int) -> list[npt.NDArray[np.intp]]:
    """The labelled images after each budget; the order is asked for anew each time, as users do."""
    labels: list[str | None] = [None] * len(pool)
    after = []
    for before, budget in zip((0, *BUDGETS), BUDGETS, strict=False):
        for pick in selection.rank(rows, labels, budget - before, seed=seed):
            labels[pick.index] = str(names[pool[pick.index]])
        after.append(pool[[place for place, label in enumerate(labels) if label is not None]])
    return after


def accuracy(
    features: Floats, names: Names, train: npt.NDArray[np.intp], test: npt.NDArray[np.intp]
) -> float:
    """Of a last layer with usual values."""
    classes, targets = np.unique(names[train], return_inverse=True)
    alike = np.zeros(len(train), np.str_)
    fitted = head.fit(features[train][None], targets.astype(np.int64), alike, len(classes), stop=lambda: True)
    scores = features[test] @ fitted.weight.T + fitted.bias
    return float((classes[scores.argmax(1)] == names[test]).mean())


def figures(path: Path) -> list[dict[str, Any]]:
    """The curves among the lines that a run has printed."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "ours" in line]


def drawn(sets: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Accuracy against the number of labels, a panel a set: the mean of the seeds, and one standard deviation
    to both sides. SVG.
    """
    figure = Figure(figsize=(5 * len(sets), 3.6))
    panels = figure.subplots(1, len(sets), squeeze=False)
    for panel, seeds in zip(panels[0], sets, strict=True):
        for name, key, colour in (("next", "ours", "tab:blue"), ("random", "random", "tab:gray")):
            curves = 100 * np.array([seed[key] for seed in seeds])
            mean, spread = curves.mean(0), curves.std(0, ddof=1)
            panel.plot(list(BUDGETS), mean, color=colour, label=name)
            panel.fill_between(list(BUDGETS), mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
        whole = 100 * float(np.mean([seed["all"] for seed in seeds]))
        panel.axhline(whole, color="black", lw=0.8, ls=":", label=f"all {seeds[0]['pool']} labels")
        panel.set(title=f"{seeds[0]['set']}, {len(seeds)} seeds", xlabel="labels", ylabel="accuracy in %")
        panel.legend(loc="lower right")
    figure.tight_layout()
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def doubts(features: Floats, names: Names, seed: int) -> dict[str, object]:
    """Planted wrong labels among those listed."""
    random = np.random.default_rng(seed)
    classes = np.unique(names)
    planted = random.permutation(len(names))[: round(WRONG * len(names))]
    labels = names.copy()
    for row in planted:
        labels[row] = random.choice(classes[classes != names[row]])
    groups = [str(row) for row in range(len(names))]
    listed = [doubt.index for doubt in selection.doubts(features, labels.tolist(), groups)]
    hits = [row in set(planted.tolist()) for row in listed]
    return {"planted": len(planted), "listed": len(listed), "hits": sum(hits), "first_20": sum(hits[:20])}


if __name__ == "__main__":
    main()
