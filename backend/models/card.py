"""The model card: what a stranger needs to know before trusting the model, in plain Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plugins.bundle import Manifest

# What the numbers mean, for people who have never trained a model.
_MEANINGS = {
    "accuracy": "share of the images that got the right class",
    "balanced_accuracy": "the same, with every class counting alike",
    "macro_f1": "mean over the classes of F1, the harmonic mean of precision and recall",
    "top_3_accuracy": "share of the images whose class is among the first three answers",
    "log_loss": "how wrong the confidences are; 0 is perfect",
    "examples": "images measured on",
}
_SHOWN_MISTAKES = 10


def write_card(path: Path, manifest: Manifest, note: str = "") -> None:
    """Write the card of a bundle from its manifest; `note` is the comparison with the model before it."""
    path.write_text(render(manifest, note), encoding="utf-8")


def render(manifest: Manifest, note: str = "") -> str:
    """The card's text."""
    labels = manifest.model.get("labels", [])
    side = manifest.details.get("evaluated_on", "validation")
    lines = [
        f"# {manifest.name}",
        "",
        f"Trained by Sightloop with `{manifest.algorithm}` on {manifest.created_at[:10]}.",
        "",
        "## What it does",
        "",
        f"Answers which of {len(labels)} classes an image belongs to: {', '.join(map(str, labels))}. "
        "It always answers with one of these, also for an image of something else: look at the confidence."
        if labels
        else "Reads the text of an image.",
        "",
        "## How good it is",
        "",
        f"Measured on the {side} images of its dataset, which it never saw in training, with the exported",
        "model and through the code that serves it. On images that look different (another camera, light or",
        "background) expect less.",
        "",
        *_table(("metric", "value", "meaning"), _metrics(manifest.metrics)),
        "",
        *([_sentence(note), ""] if note else []),
        *_per_class(manifest.details.get("per_class")),
        *_mistakes(manifest.details.get("mistakes")),
        "## How it was made",
        "",
        *_table(("what", "value"), _made_of(manifest)),
        "",
        "Plots are in `plots/`, inputs with their expected answers in `test_vectors/`.",
        "",
    ]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _metrics(metrics: Mapping[str, float]) -> list[tuple[str, ...]]:
    return [(name, f"{value:.4g}", _MEANINGS.get(name, "")) for name, value in metrics.items()]


def _per_class(rows: Any) -> list[str]:
    if not isinstance(rows, Sequence) or not rows:
        return []
    columns = ("precision", "recall", "f1")
    body = [
        (str(row["label"]), *(f"{row[name]:.2f}" for name in columns), str(row["support"])) for row in rows
    ]
    return [*_table(("class", *columns, "images"), body), ""]


def _mistakes(rows: Any) -> list[str]:
    if not isinstance(rows, Sequence) or not rows:
        return []
    body = [
        (str(row["key"]), str(row["label"]), str(row["predicted"]), f"{row['conf']:.2f}")
        for row in rows[:_SHOWN_MISTAKES]
    ]
    return [
        "## Its worst mistakes",
        "",
        "The most confident wrong answers; some may be wrong labels.",
        "",
        *_table(("image", "label", "answer", "confidence"), body),
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
            if not isinstance(value, dict | list)
        ),
        *((f"{name} version", version) for name, version in manifest.libraries.items()),
    ]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    def row(cells: tuple[str, ...]) -> str:
        escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return "| " + " | ".join(escaped) + " |"

    return [row(head), "|" + " --- |" * len(head), *map(row, rows)]
