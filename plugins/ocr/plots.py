"""Plots of a reader: what it finds and reads by length and kind of text, what it confuses, how it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plugins.classification.lettering import Lettering
from plugins.contract import Evaluation

_CONFUSIONS = 20


def illustrate(evaluation: Evaluation, metric_rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `lengths.png`, `characters.png`, `confusions.png` and, of rows (`name`, `epoch`, `value`),
    `training.png`; each where the evaluation or the rows have something to show.
    """
    folder.mkdir(parents=True, exist_ok=True)
    details = evaluation.details
    confusions = details.get("confusions", [])[:_CONFUSIONS]
    lettering = Lettering(text for row in confusions for text in (row["truth"], row["answer"]))
    with (
        matplotlib.rc_context({"font.family": lettering.families, "font.size": 9}),
        matplotlib.rc_context({"axes.spines.top": False, "axes.spines.right": False}),
    ):
        if details.get("by_length"):
            _draw_lengths(details["by_length"], folder / "lengths.png")
        if details.get("by_character"):
            _draw_characters(details["by_character"], folder / "characters.png")
        if confusions:
            _draw_confusions(confusions, lettering, folder / "confusions.png")
        _draw_training(metric_rows, folder / "training.png")


def _draw_lengths(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    shown = (("found", "found"), ("right", "of these read right"), ("exact", "of these exactly"))
    for offset, (name, title) in zip((-0.27, 0.0, 0.27), shown, strict=True):
        axes.bar(places + offset, [row[name] for row in rows], width=0.25, label=title)
    axes.set_xticks(places, [f"{row['length']}\n({row['regions']})" for row in rows])
    axes.set(ylim=(0, 1.02), xlabel="characters of the text (regions)", title="By length")
    figure.legend(loc="outside right upper")
    figure.savefig(path, dpi=110)


def _draw_characters(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    figure = Figure(figsize=(6, 0.35 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(rows)), [row["right"] for row in rows], height=0.6)
    axes.set_yticks(range(len(rows)), [f"{row['kind']} ({row['characters']})" for row in rows])
    axes.set(xlim=(0, 1), title="Share of the characters read right")
    figure.savefig(path, dpi=110)


def _draw_confusions(rows: Sequence[Mapping[str, Any]], lettering: Lettering, path: Path) -> None:
    figure = Figure(figsize=(5, 0.28 * len(rows) + 1.2), layout="constrained")
    axes = figure.add_subplot()
    axes.barh(range(len(rows)), [row["count"] for row in rows], height=0.7)
    axes.set_yticks(range(len(rows)), [_in_words(row, lettering) for row in rows])
    axes.invert_yaxis()
    axes.set(title="Most frequent confusions", xlabel="times")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=110)


def _in_words(row: Mapping[str, Any], lettering: Lettering) -> str:
    truth, answer = (
        "space" if row[name] == " " else lettering.plain(row[name]) for name in ("truth", "answer")
    )
    if not row["truth"]:
        return f"{answer} added"
    return f"{truth} read as {answer}" if row["answer"] else f"{truth} left out"


def _draw_training(metric_rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Every metric that was reported more than once while training, over its network's epochs."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in metric_rows:
        if row.get("step", "train") == "train":
            curves.setdefault(str(row["name"]), []).append((float(row["epoch"]), float(row["value"])))
    panels = [
        (f"{network}: {what.replace('_', ' ')}", curves[f"{network}_{what}"])
        for what in ("loss", "end_to_end_f1")
        for network in ("detector", "recogniser")
        if len(curves.get(f"{network}_{what}", ())) > 1
    ]
    if not panels:
        return
    down = -(-len(panels) // 2)
    figure = Figure(figsize=(7.6, 2.7 * down + 0.3), layout="constrained")
    for place, (title, points) in enumerate(panels, 1):
        axes: Axes = figure.add_subplot(down, min(len(panels), 2), place)
        axes.plot(*zip(*points, strict=True), marker=".")
        axes.set(xlabel="epoch", title=title)
        axes.set_ylim(bottom=0 if "loss" in title else None)
    figure.savefig(path, dpi=110)
