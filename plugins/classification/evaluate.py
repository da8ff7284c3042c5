"""How good a classifier is: numbers for comparison, details and plots for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from plugins.contract import Evaluation, Example, Prediction

_WORST = 50  # mistakes listed
_MOST_CELLS = 30  # a confusion matrix with more classes is drawn without its numbers


def evaluate(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Evaluation:
    """Accuracy, macro F1, log loss and more on labelled examples; every number is finite, also for none."""
    labels = sorted({output.label for row in predictions for output in row.outputs} | _truths(examples))
    truth = [str(example.label) for example in examples]
    answers = [row.outputs[0].label for row in predictions]
    if not examples:
        return Evaluation({"accuracy": 0.0, "macro_f1": 0.0, "examples": 0.0}, {"labels": labels})
    per_class = _per_class(truth, answers, labels)
    present = [row for row in per_class if row["support"]]
    right = [wanted == given for wanted, given in zip(truth, answers, strict=True)]
    metrics = {
        "accuracy": float(np.mean(right)),
        "macro_f1": float(np.mean([row["f1"] for row in present])),
        "balanced_accuracy": float(np.mean([row["recall"] for row in present])),
        "log_loss": _log_loss(truth, predictions, labels),
        "top_3_accuracy": float(np.mean(_among_first(truth, predictions, 3))),
        "examples": float(len(examples)),
    }
    details = {
        "labels": labels,
        "per_class": per_class,
        "confusion": confusion_matrix(truth, answers, labels=labels).tolist(),
        "mistakes": _mistakes(examples, predictions),
    }
    return Evaluation(metrics, details)


def _truths(examples: Sequence[Example]) -> set[str]:
    return {str(example.label) for example in examples}


def _per_class(truth: list[str], answers: list[str], labels: list[str]) -> list[dict[str, Any]]:
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, answers, labels=labels, zero_division=0.0
    )
    return [
        {
            "label": label,
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, label in enumerate(labels)
    ]


def _log_loss(truth: list[str], predictions: Sequence[Prediction], labels: list[str]) -> float:
    """The mean negative logarithm of the probability given to the truth, clipped so that it stays finite."""
    if len(labels) < 2:
        return 0.0
    given = [{output.label: output.conf for output in row.outputs} for row in predictions]
    table = np.array([[max(row.get(label, 0.0), 1e-7) for label in labels] for row in given], np.float64)
    return float(log_loss(truth, table / table.sum(1, keepdims=True), labels=labels))


def _among_first(truth: list[str], predictions: Sequence[Prediction], count: int) -> list[bool]:
    return [
        wanted in [output.label for output in row.outputs[:count]]
        for wanted, row in zip(truth, predictions, strict=True)
    ]


def _mistakes(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The wrong answers given with the most confidence: wrong labels are often among them."""
    wrong: list[dict[str, Any]] = [
        {
            "key": example.key,
            "label": str(example.label),
            "predicted": row.outputs[0].label,
            "conf": float(row.outputs[0].conf),
            "label_conf": float(next((o.conf for o in row.outputs if o.label == example.label), 0.0)),
        }
        for example, row in zip(examples, predictions, strict=True)
        if row.outputs[0].label != example.label
    ]
    return sorted(wrong, key=lambda row: (-row["conf"], row["key"]))[:_WORST]


def illustrate(evaluation: Evaluation, metric_rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write `confusion.png`, `classes.png` and, of rows (`name`, `epoch`, `value`), `training.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        if "confusion" in evaluation.details:
            _draw_confusion(evaluation.details, folder / "confusion.png")
            _draw_classes(evaluation.details["per_class"], folder / "classes.png")
        if metric_rows:
            _draw_training(metric_rows, folder / "training.png")


def _draw_confusion(details: Mapping[str, Any], path: Path) -> None:
    labels, counts = details["labels"], np.array(details["confusion"])
    side = min(max(3.5, 0.45 * len(labels) + 2), 16)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="label", title="Confusion")
    if len(labels) <= _MOST_CELLS:
        axes.set_xticks(range(len(labels)), [_plain(label) for label in labels], rotation=90)
        axes.set_yticks(range(len(labels)), [_plain(label) for label in labels])
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count) if count else "", ha="center", va="center", color=colour)
    figure.savefig(path, dpi=110)


def _draw_classes(per_class: Sequence[Mapping[str, Any]], path: Path) -> None:
    rows = sorted(per_class, key=lambda row: row["f1"])[:60]
    figure = Figure(figsize=(6, min(max(2.0, 0.28 * len(rows) + 1), 16)), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(len(rows))
    for offset, name in ((-0.27, "precision"), (0.0, "recall"), (0.27, "f1")):
        axes.barh(places + offset, [row[name] for row in rows], height=0.25, label=name)
    axes.set_yticks(places, [f"{_plain(row['label'])} ({row['support']})" for row in rows])
    axes.set(xlim=(0, 1), title="Per class (images)")
    axes.legend(loc="lower left")
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


def _plain(text: str) -> str:
    """Class names as they are: matplotlib would read dollar signs as formulas."""
    return text.replace("$", r"\$")
