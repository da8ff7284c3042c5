"""How good a classifier is: numbers for comparison, and details for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, precision_recall_fscore_support

from plugins.classification.intervals import figures, intervals, wilson
from plugins.classification.reliability import brier, reliability
from plugins.contract import Evaluation, Example, Judged, Prediction

_WORST = 50  # mistakes listed
_MOST_CLASSES = 1000  # of a confusion matrix: it stands in the manifest, whose size is limited

Indices = npt.NDArray[np.int64]


def evaluate(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Evaluation:
    """Accuracy, macro F1, log loss, calibration and more on labelled examples; every number is finite.

    `intervals` in the details are 95 % intervals by metric, `reliability` what the confidences are worth, and
    `decisions` what became of the images, if the model decides, `confusion` how many of each class got each
    answer, up to a thousand classes.
    """
    truths = [str(example.label) for example in examples]
    labels = sorted({output.label for row in predictions for output in row.outputs} | set(truths))
    if not examples:
        return Evaluation({"accuracy": 0.0, "macro_f1": 0.0, "examples": 0.0}, {"labels": labels})
    places = {label: place for place, label in enumerate(labels)}
    truth = np.array([places[label] for label in truths])
    table = _table(predictions, places)
    answers = np.array([places[row.outputs[0].label] for row in predictions])
    right = truth == answers
    overall = figures(truth, answers, len(labels), np.ones(len(truth)))
    calibration = reliability(np.array([row.outputs[0].conf for row in predictions]), right)
    decisions = _decisions(predictions, right)
    among_three = sum(_among_first(truths, predictions, 3))
    shares = {**_shares(decisions), "top_3_accuracy": (among_three, len(truths))}
    metrics = {
        "accuracy": overall.accuracy,
        "macro_f1": overall.macro_f1,
        "balanced_accuracy": overall.balanced_accuracy,
        "log_loss": _log_loss(truth, table),
        "ece": calibration.ece,
        "brier": brier(table, truth),
        **{name: count / images for name, (count, images) in shares.items()},
        "examples": float(len(examples)),
    }
    groups = [example.group for example in examples]
    details = {
        "labels": labels,
        "per_class": _per_class(truth, answers, labels, predictions),
        "intervals": {
            **intervals(truth, answers, groups, len(labels)),
            **{name: wilson(count, images) for name, (count, images) in shares.items()},
        },
        "reliability": calibration.to_json(),
        **({"confusion": _confusion(truth, answers, len(labels))} if len(labels) <= _MOST_CLASSES else {}),
        "mistakes": _mistakes(examples, predictions),
        **({"decisions": decisions} if decisions else {}),
    }
    return Evaluation(metrics, details, _judged(examples, predictions))


def _judged(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[Judged]:
    firsts = [row.outputs[0] for row in predictions]
    return [
        Judged(one.key, str(one.label), first.label, float(first.conf), first.label == one.label)
        for one, first in zip(examples, firsts, strict=True)
    ]


def _table(predictions: Sequence[Prediction], places: dict[str, int]) -> npt.NDArray[np.float64]:
    """The confidences (images, labels); 0 for labels that a model does not know."""
    table = np.zeros((len(predictions), len(places)))
    for row, prediction in zip(table, predictions, strict=True):
        for output in prediction.outputs:
            row[places[output.label]] = output.conf
    return table


def _per_class(
    truth: Indices, answers: Indices, labels: list[str], predictions: Sequence[Prediction]
) -> list[dict[str, Any]]:
    """Precision and recall with their 95 % intervals (Wilson's), and, if the model decides, how many answers
    there are with this class, how many it acts on and how many of these are right.
    """
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, answers, labels=range(len(labels)), zero_division=0.0
    )
    given = np.bincount(answers, minlength=len(labels))
    acted = np.array([row.decision is not None and row.decision.label is not None for row in predictions])
    decides = any(row.decision for row in predictions)
    rows = []
    for place, label in enumerate(labels):
        mine = acted & (answers == place)
        rows.append(
            {
                "label": label,
                "precision": float(precision[place]),
                "precision_interval": wilson(precision[place] * given[place], given[place]),
                "recall": float(recall[place]),
                "recall_interval": wilson(recall[place] * support[place], support[place]),
                "f1": float(f1[place]),
                "support": int(support[place]),
                **(
                    {
                        "answered": int(given[place]),
                        "acted": int(mine.sum()),
                        "acted_right": int((mine & (truth == place)).sum()),
                    }
                    if decides
                    else {}
                ),
            }
        )
    return rows


def _decisions(predictions: Sequence[Prediction], right: npt.NDArray[np.bool_]) -> dict[str, int]:
    """How many images were acted on (and rightly), and how many were not for which reason; empty for a model
    that does not decide.
    """
    made = [row.decision for row in predictions]
    if not any(made):
        return {}
    acted = [decision is not None and decision.label is not None for decision in made]
    return {
        "images": len(made),
        "acted": sum(acted),
        "right": int(right[acted].sum()),
        **{
            reason: sum(decision is not None and decision.reason == reason for decision in made)
            for reason in ("not_sure", "unlike_training")
        },
    }


def _shares(decisions: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Images counted and images in all: `coverage`, and the precision of what is acted on, if anything is."""
    if not decisions:
        return {}
    acted = decisions["acted"]
    precision = {"acted_precision": (decisions["right"], acted)} if acted else {}
    return {"coverage": (acted, decisions["images"]), **precision}


def _log_loss(truth: Indices, table: npt.NDArray[np.float64]) -> float:
    """The mean negative logarithm of the probability given to the truth, clipped so that it stays finite."""
    if table.shape[1] < 2:
        return 0.0
    clipped = np.maximum(table, 1e-7)
    return float(log_loss(truth, clipped / clipped.sum(1, keepdims=True), labels=range(table.shape[1])))


def _confusion(truth: Indices, answers: Indices, classes: int) -> list[list[int]]:
    """How many images of each class (rows) got each answer (columns)."""
    counts = np.bincount(truth * classes + answers, minlength=classes**2).reshape(classes, classes)
    rows: list[list[int]] = counts.tolist()
    return rows


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
