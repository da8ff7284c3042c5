"""Plots of an evaluation and of a training, for the bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plugins.classification.lettering import Lettering
from plugins.contract import Evaluation

_LONGEST = 30  # letters of a class name
_MOST_NAMES = 90  # on the axes of a confusion matrix
_MOST_CELLS = 30  # a confusion matrix with more classes is drawn without its numbers


def illustrate(evaluation: Evaluation, metric_rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `confusion.png`, `classes.png`, `reliability.png` and, of rows (`name`, `epoch`, `value`,
    `at`: ISO 8601), `training.png`; each where the evaluation or the rows have something to show.
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
    if len(labels) <= _MOST_NAMES:
        axes.set_xticks(range(len(labels)), names, rotation=90)
        axes.set_yticks(range(len(labels)), names)
    else:
        axes.set(xlabel="predicted (classes numbered by name)", ylabel="label (classes numbered by name)")
    if len(labels) <= _MOST_CELLS:
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


@dataclass(frozen=True)
class _Curve:
    """Points of one metric. Of losses only those at the end of an epoch are means over it; the others tell
    of one batch each.
    """

    name: str
    label: str
    colour: str

    def draw(self, axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add the curve, if there are such rows."""
        points = [(float(row["epoch"]), float(row["value"])) for row in rows if row["name"] == self.name]
        ends = {epoch: value for epoch, value in points if epoch == round(epoch)}  # the last one counts
        means = list(ends.items())
        if means and len(points) > len(means):
            axes.plot(*zip(*points, strict=True), color=self.colour, alpha=0.25, linewidth=1)
        if means or points:
            axes.plot(*zip(*(means or points), strict=True), label=self.label, color=self.colour, marker=".")


_PANELS = (
    ("loss", (_Curve("loss", "training views", "C0"), _Curve("validation_loss", "validation", "C1"))),
    (
        "accuracy",
        (_Curve("accuracy", "training views", "C0"), _Curve("validation_accuracy", "validation", "C1")),
    ),
    ("learning rate", (_Curve("learning_rate", "last layer", "C0"),)),
    ("images a second", (_Curve("images_per_second", "training", "C0"),)),
)


def _draw_training(metric_rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss, accuracy, learning rate and throughput over the epochs; epoch 0 is the first model, before
    fine-tuning. Training views are cut, turned and mixed, so they are harder than the validation images.
    """
    rows = [row for row in metric_rows if row.get("step", "train") == "train"]
    names = {row["name"] for row in rows}
    panels = [one for one in _PANELS if any(curve.name in names for curve in one[1])]
    if not panels:
        return
    last = max(float(row["epoch"]) for row in rows)
    down = -(-len(panels) // 2)
    figure = Figure(figsize=(7.6, 2.7 * down + 0.4), layout="constrained")
    figure.suptitle(_length(rows, last), fontsize=10)
    for place, (title, curves) in enumerate(panels, 1):
        axes = figure.add_subplot(down, min(len(panels), 2), place)
        for curve in curves:
            curve.draw(axes, rows)
        axes.set(xlabel="epoch", title=title, xlim=(-0.03 * max(last, 1), 1.03 * max(last, 1)))
        axes.set_ylim(bottom=0, top=1.02 if title == "accuracy" else None)
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(curves) > 1:
            axes.legend()
    figure.savefig(path, dpi=110)


def _length(rows: Sequence[Mapping[str, Any]], epochs: float) -> str:
    """How long training took, from the first row to the last, where the rows say when they were made."""
    times = [datetime.fromisoformat(row["at"]) for row in rows if isinstance(row.get("at"), str)]
    if not epochs:
        return "The first model, without fine-tuning"
    words = f"{epochs:.3g} {'epoch' if epochs == 1 else 'epochs'} of fine-tuning"
    seconds = (max(times) - min(times)).total_seconds() if times else 0.0
    return f"{words} in {seconds:.0f} s" if seconds >= 1 else words
