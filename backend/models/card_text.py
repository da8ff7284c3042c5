"""What the card of a reader of text says: where it errs, on which images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backend.models.markdown import paragraph, percent, table

_SHOWN_CONFUSIONS, _SHOWN_IMAGES = 10, 15


def in_short(metrics: Mapping[str, float], side: str) -> list[str]:
    """The one number that users ask for; empty for a model that does not read."""
    if "end_to_end_recall" not in metrics:
        return []
    share = percent(metrics["end_to_end_recall"])
    images = f"{metrics.get('examples', 0):.0f} {side} images"
    return [f"**{share} of the texts on {images} were found and read rightly.**", ""]


def mistakes(details: Mapping[str, Any]) -> list[str]:
    """By length and kind of character, the most frequent confusions, and the worst images."""
    return [
        *_by_length(details.get("by_length", ())),
        *_by_character(details.get("by_character", ())),
        *_confusions(details.get("confusions", ())),
        *_images(details.get("mistakes", ())),
    ]


def _by_length(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    body = [
        (row["length"], str(row["regions"]), *(percent(row[name]) for name in ("found", "right", "exact")))
        for row in rows
    ]
    head = ("characters", "texts", "found", "right", "exactly right")
    return ["## Short and long texts", "", *table(head, body), ""] if body else []


def _by_character(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    body = [(row["kind"], str(row["characters"]), percent(row["right"])) for row in rows]
    return ["## Characters", "", *table(("kind", "characters", "right"), body), ""] if body else []


def _confusions(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    body = [
        (row["truth"] or "nothing", row["answer"] or "nothing", str(row["count"]))
        for row in rows[:_SHOWN_CONFUSIONS]
    ]
    return (
        ["## What it takes for what", "", *table(("there is", "it reads", "times"), body), ""] if body else []
    )


def _images(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    body = [
        (str(row["key"]), *(str(row[name]) for name in ("regions", "missed", "misread", "invented")))
        for row in rows[:_SHOWN_IMAGES]
    ]
    if not body:
        return []
    said = paragraph("The images with the most that is wrong; some may be wrong labels.")
    head = ("image", "texts", "missed", "misread", "invented")
    return ["## Its worst images", "", *said, *table(head, body), ""]
