"""Plots of an evaluation and of a training, for the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from plugins.classification.lettering import Lettering
from plugins.contract import Evaluation

_LONGEST = 30  # letters of a class name
_MOST_CELLS = 30  # a confusion matrix with more classes is drawn without its numbers


def illustrate(evaluation: Evaluation, metric_rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `confusion.png`, `classes.png`, `reliability.png` and, of rows (`name`, `epoch`, `value`),
    `training.png`; each where the evaluation or the rows have something to show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    details = evaluation.details
    lettering = Lettering(details.get("labels", ()))
    with (
        matplotlib.rc_context({"font.family": lettering.families, "font.size": 9}),
        matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}),
    ):
        if "confusion" in details:
            _draw_confusion(details, lettering, folder / "confusion.png")
            _draw_classes(details["per_class"], lettering, folder / "classes.png")
        if details.get("reliability", {}).get("bins"):
            _draw_reliability(details["reliability"], folder / "reliability.png")
        if metric_rows:
            _draw_training(metric_rows, folder / "training.png")


def _draw_confusion(details: Mapping[str, Any], lettering: Lettering, path: Path) -> None:
    labels, counts = details["labels"], np.array(details["confusion"])
    side = min(max(3.5, 0.45 * len(labels) + 2), 16)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    names = [lettering.plain(label, _LONGEST) for label in labels]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="label", title="Confusion")
    if len(labels) <= _MOST_CELLS:
        axes.set_xticks(range(len(labels)), names, rotation=90)
        axes.set_yticks(range(len(labels)), names)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count) if count else "", ha="center", va="center", color=colour)
    figure.savefig(path, dpi=110)


def _draw_classes(per_class: Sequence[Mapping[str, Any]], lettering: Lettering, path: Path) -> None:
    rows = sorted(per_class, key=lambda row: row["f1"])[:60]
    figure = Figure(figsize=(6, min(max(2.0, 0.28 * len(rows) + 1), 16)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    for offset, name in ((-0.27, "precision"), (0.0, "recall"), (0.27, "f1")):
        axes.barh(places + offset, [row[name] for row in rows], height=0.25, label=name)
    axes.set_yticks(places, [f"{lettering.plain(row['label'], _LONGEST)} ({row['support']})" for row in rows])
    axes.set(xlim=(0, 1), title="Per class (images)")
    figure.legend(loc="outside right upper", reverse=True)
    figure.savefig(path, dpi=110)


def _draw_reliability(reliability: Mapping[str, Any], path: Path) -> None:
    """The accuracy of images of like confidence with its 95 % interval; on the diagonal a confidence means
    what it says.
    """
    bins = reliability["bins"]
    given, found = ([row[name] for row in bins] for name in ("confidence", "accuracy"))
    spread = [[row["accuracy"] - row["low"] for row in bins], [row["high"] - row["accuracy"] for row in bins]]
    figure = Figure(figsize=(4.6, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="confidence = share right")
    axes.errorbar(given, found, spread, marker="o", capsize=3, label="measured, with 95 % interval")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="share of right answers")
    error, chance = reliability["ece"], reliability["chance"]
    axes.set_title(
        f"Expected calibration error {error:.3f}\n(perfect confidences: up to {chance:.3f} by chance)"
    )
    sizes = sorted({row["images"] for row in bins})
    each = f"{sizes[0]} to {sizes[-1]}" if len(sizes) > 1 else str(sizes[0])
    axes.text(0.98, 0.03, f"each point: {each} images", ha="right")
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=110)


def _draw_training(metric_rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss and accuracy over the epochs; epoch 0 is the first model, before fine-tuning."""
    rows = [row for row in metric_rows if row.get("step", "train") == "train"]
    figure = Figure(figsize=(7, 3), layout="constrained")
    for place, title in enumerate(("loss", "accuracy"), 1):
        axes = figure.add_subplot(1, 2, place)
        for name, label in ((title, "training"), (f"validation_{title}", "validation")):
            points = [(row["epoch"], row["value"]) for row in rows if row["name"] == name]
            if points:
                axes.plot(*zip(*points, strict=True), label=label, marker=".")
        last = max((row["epoch"] for row in rows), default=0)
        axes.set(xlabel="epoch", title=title, xlim=(-0.5, max(last, 1) + 0.5))
        axes.set_ylim(bottom=0, top=1.02 if title == "accuracy" else None)
        if axes.lines:
            axes.legend()
    figure.savefig(path, dpi=110)
