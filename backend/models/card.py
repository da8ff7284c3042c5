"""The model card: what a stranger needs to know before trusting the model, in plain Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.models import card_text, card_trust, measures, precision
from backend.models.markdown import paragraph, percent, safe, table
from plugins.bundle import Manifest

_SHOWN_LABELS, _SHOWN_CHARACTERS = 30, 200
_SHOWN_CLASSES = 60


def write_card(path: Path, manifest: Manifest, note: str = "") -> None:
    """Write the card of a bundle from its manifest; `note` is the comparison with the model before it."""
    path.write_text(render(manifest, note), encoding="utf-8")


def render(manifest: Manifest, note: str = "") -> str:
    """The card's text."""
    details, trust = manifest.details, manifest.model.get("trust")
    reads = "vocabulary" in manifest.model
    lines = [
        f"# {manifest.name}",
        "",
        f"Trained by Sightloop with `{manifest.algorithm}` on {manifest.created_at[:10]}.",
        "",
        *_task(manifest.model),
        *_quality(manifest, note),
        *_per_class(details.get("per_class")),
        *card_trust.confidence(details.get("reliability")),
        *card_trust.decisions(trust, manifest.metrics, details),
        *card_trust.none_of_these(trust, details.get("decisions")),
        *(card_text.mistakes(details) if reads else card_trust.mistakes(details.get("mistakes"))),
        *card_trust.suspects(
            manifest.facts.get("label_suspects"), manifest.facts.get("label_suspects_among")
        ),
        *precision.section(manifest.facts),
        "## How it was made",
        "",
        *table(("what", "value"), _made_of(manifest)),
        "",
        "Plots are in `plots/`, inputs with their expected answers in `test_vectors/`.",
        "",
    ]
    return "\n".join(lines)


def _task(model: Mapping[str, Any]) -> list[str]:
    labels = [str(label) for label in model.get("labels", [])]
    if not labels:
        return ["## What it does", "", *paragraph(_reading(model.get("vocabulary", ())))]
    more = len(labels) - _SHOWN_LABELS
    names = ", ".join(labels[:_SHOWN_LABELS]) + (f" and {more} more" if more > 0 else "")
    decides = (
        "Every answer has a confidence and a decision: to act on the class, or on none, because the model is "
        "not sure or the image is unlike those that it has learned from."
    )
    always = (
        "It always answers with one of these, also for an image of something else: look at the confidence."
    )
    return [
        "## What it does",
        "",
        *paragraph(
            f"Answers which of {len(labels)} classes an image belongs to: {safe(names)}.",
            decides if "trust" in model else always,
        ),
    ]


def _reading(characters: Sequence[str]) -> str:
    known = "".join(characters[:_SHOWN_CHARACTERS]) + (" ..." if len(characters) > _SHOWN_CHARACTERS else "")
    what = "Finds the texts of an image and reads them, in reading order."
    return f"{what} It knows {len(characters)} characters: {safe(known)}" if characters else what


def _quality(manifest: Manifest, note: str) -> list[str]:
    side = manifest.details.get("evaluated_on", "validation")
    intervals = manifest.details.get("intervals", {})
    optimistic = (
        "The same images chose the best state of the training, its confidences and its thresholds, so on new "
        "ones it is probably a little worse."
    )
    return [
        "## How good it is",
        "",
        *_in_short(manifest.metrics, intervals, side),
        *card_text.in_short(manifest.metrics, side),
        *_warning(manifest.facts.get("warning")),
        *paragraph(
            f"Measured on the {side} images of its dataset, which it never saw in training, with the",
            "exported model and through the code that serves it.",
            *([optimistic] if side == "validation" else []),
            "On images that look different (another camera, light or background) expect less.",
        ),
        *table(("metric", "value", "meaning"), _metrics(manifest, intervals)),
        "",
        *(
            paragraph(
                "In brackets: the 95 % interval, where the value over many more such images probably lies."
            )
            if intervals
            else []
        ),
        *([_sentence(note), ""] if note else []),
    ]


def _in_short(metrics: Mapping[str, float], intervals: Mapping[str, Any], side: str) -> list[str]:
    if "accuracy" not in intervals:
        return []
    share = percent(metrics["accuracy"], intervals["accuracy"])
    return [f"**{share} of {metrics['examples']:.0f} {side} images got the right class.**", ""]


def _warning(text: Any) -> list[str]:
    """What the trainer warns of, before the tables."""
    return paragraph("**Warning:**", safe(str(text))) if text else []


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _metrics(manifest: Manifest, intervals: Mapping[str, Any]) -> list[tuple[str, ...]]:
    described = [measures.metric(manifest.plugin, name) for name in manifest.metrics]
    return [
        (
            metric.name.replace("_", " "),
            _value(manifest.metrics[metric.name], metric.share, intervals.get(metric.name)),
            metric.meaning,
        )
        for metric in described
    ]


def _value(value: float, share: bool, interval: Sequence[float] | None) -> str:
    if interval is not None:
        return percent(value, interval)
    return percent(value) if share else f"{value:.4g}"


def _per_class(rows: Any) -> list[str]:
    if not isinstance(rows, Sequence) or not rows:
        return []

    columns = ("recall", "precision", "f1")
    hardest = sorted(rows, key=lambda row: row["f1"])[:_SHOWN_CLASSES]
    shown = rows if len(rows) <= _SHOWN_CLASSES else hardest
    body = [
        (
            str(row["label"]),
            *(percent(row[name], row.get(f"{name}_interval")) for name in columns),
            str(row["support"]),
        )
        for row in shown
    ]
    return [
        *paragraph(
            "Recall: the share of a class's images that it finds.",
            "Precision: the share of the answers with a class that are right.",
            *([f"Of {len(rows)} classes the {len(shown)} hardest:"] if len(shown) < len(rows) else []),
        ),
        *table(("class", *columns, "images"), body),
        "",
    ]


def _made_of(manifest: Manifest) -> list[tuple[str, ...]]:
    plain = {**manifest.facts, **manifest.parameters}
    return [
        ("dataset snapshot", manifest.snapshot),
        *((f"base {name}", str(value)) for name, value in manifest.base.items()),
        *(
            (name.replace("_", " "), "chosen automatically" if value is None else str(value))
            for name, value in plain.items()
            if not isinstance(value, dict | list) and name != "warning"
        ),
        *((f"{name} version", version) for name, version in manifest.libraries.items()),
    ]
