"""The sections of the model card on how far to trust the model; each empty where a plugin gives nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.models.markdown import paragraph, percent, table

_SHOWN_MISTAKES = 10


def confidence(reliability: Any) -> list[str]:
    """What the confidences are worth, in words."""
    if not isinstance(reliability, Mapping) or not reliability.get("bins"):
        return []
    bins = reliability["bins"]
    images = sum(row["images"] for row in bins)
    right = sum(row["accuracy"] * row["images"] for row in bins) / images
    error, chance, given = (reliability[name] for name in ("ece", "chance", "mean_confidence"))
    return [
        "## What the confidence means",
        "",
        *paragraph(
            "A confidence is meant as the share of right answers: of all answers given with 80 %, 80 %",
            f"should be right. On the {images} images measured it was {percent(given)} on average, and",
            f"{percent(right)} of the answers were right. {_verdict(error, chance, given - right)}",
            f"(Expected calibration error {error:.3f}, over {len(bins)}",
            f"{'group' if len(bins) == 1 else 'groups'} of equally many images; exact confidences would",
            f"show up to {chance:.3f} by chance.)",
        ),
    ]


def _verdict(error: float, chance: float, excess: float) -> str:
    if error <= chance:
        return "No more than chance would show: take the confidences as they are."
    if abs(excess) > error / 2:
        return f"Read the confidences as too {'high' if excess > 0 else 'low'}."
    return "Some confidences are too high and others too low: see `plots/reliability.png`."


def decisions(
    trust: Any, metrics: Mapping[str, float], details: Mapping[str, Any], *, shown: int = 60
) -> list[str]:
    """From what confidence on an answer is acted on, and what became of the images measured."""
    if not isinstance(trust, Mapping):
        return []
    rows = {row["label"]: row for row in details.get("per_class", []) if "acted" in row}
    thresholds = list(trust.get("thresholds", {}).items())
    body = [_threshold(label, least, rows.get(label)) for label, least in thresholds[:shown]]
    return [
        "## When to act on an answer",
        "",
        *paragraph(
            f"Wanted: {100 * trust['precision']:g} % of the answers acted on are right. The least confidence",
            "for that was fitted for each class on images not trained on; with few images it is a careful",
            "estimate. Below it the decision is `not_sure`.",
        ),
        *_seen(metrics, details),
        *table(("class", "least confidence", "acted on", "of these right"), body),
        "",
        *(paragraph(f"And {len(thresholds) - shown} more classes.") if len(thresholds) > shown else []),
    ]


def _seen(metrics: Mapping[str, float], details: Mapping[str, Any]) -> list[str]:
    made = details.get("decisions")
    if not isinstance(made, Mapping):
        return []
    intervals = details.get("intervals", {})
    coverage = percent(metrics["coverage"], intervals.get("coverage"))
    right = (
        percent(metrics["acted_precision"], intervals.get("acted_precision"))
        if "acted_precision" in metrics
        else "none"
    )
    return paragraph(
        f"Of the {made['images']} images measured it acted on {made['acted']}, {coverage};",
        f"{right} of these were right. On {made['not_sure']} it was not sure, and",
        f"{made['unlike_training']} seemed unlike the training images.",
    )


def _threshold(label: str, least: float | None, row: Mapping[str, Any] | None) -> tuple[str, ...]:
    confidence = "never: no confidence is enough" if least is None else f"{least:g}"
    if row is None:
        return label, confidence, "", ""
    right = f"{row['acted_right']} ({percent(row['acted_right'] / row['acted'])})" if row["acted"] else ""
    return label, confidence, f"{row['acted']} of {row['answered']} answers", right


def none_of_these(trust: Any, made: Any) -> list[str]:
    """When it says that an image is unlike its training images."""
    if not isinstance(trust, Mapping):
        return []
    limits = trust.get("unlike")
    title = ["## None of these", ""]
    if not isinstance(limits, Mapping):
        return [
            *title,
            *paragraph(
                "It cannot tell when an image is unlike those that it has learned from, so it may be sure of",
                "an image of something else: it has learned from too few images, or joins several networks.",
            ),
        ]
    measured = (
        f" (of the {made['images']} images measured it was {made['unlike_training']})"
        if isinstance(made, Mapping)
        else ""
    )
    return [
        *title,
        *paragraph(
            "The decision is `unlike_training` when an image is not like any that the model has learned",
            f"from: its features are farther than {limits['limit']:g} (1 minus the cosine similarity) from",
            f"those of the nearest of {limits['images']} training images. About",
            f"{100 * limits['false_alarms']:g} % of good images are expected to be refused by",
            f"mistake{measured}.",
            "Photographs of something quite different are noticed. A new class that resembles the known ones",
            "often is not: label some images of it and train again.",
        ),
    ]


def mistakes(rows: Any) -> list[str]:
    """The most confident wrong answers, of plugins whose mistakes are one class for another."""
    if not isinstance(rows, Sequence):
        return []
    body = [
        (str(row["key"]), str(row["label"]), str(row["predicted"]), f"{row['conf']:.2f}")
        for row in rows[:_SHOWN_MISTAKES]
        if {"key", "label", "predicted", "conf"} <= row.keys()
    ]
    if not body:
        return []
    return [
        "## Its worst mistakes",
        "",
        "The most confident wrong answers; some may be wrong labels.",
        "",
        *table(("image", "label", "answer", "confidence"), body),
        "",
    ]


def suspects(rows: Any, among: Any) -> list[str]:
    """Training images whose label is probably wrong, of so many that were looked at."""
    if not isinstance(rows, Sequence):
        return []
    title = ["## Probable label mistakes", ""]
    looked_at = (
        f" among the {among:,} training images that were looked at"
        if isinstance(among, int)
        else " among the training images"
    )
    if not rows:
        return [*title, f"None were found{looked_at}.", ""]
    names = ("key", "label", "predicted")
    body = [
        (*(str(row[name]) for name in names), f"{row['conf']:.2f}", f"{row['label_conf']:.2f}")
        for row in rows
    ]
    return [
        *title,
        *paragraph(
            f"Images{looked_at} that a model which had not seen them takes for another",
            "class. Look at each:",
            "where the label is wrong, correct it and train again; where it is right, leave it, the image is",
            "only hard.",
        ),
        *table(("image", "label", "more probable", "confidence", "confidence of the label"), body),
        "",
    ]
