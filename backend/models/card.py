"""The model card: what a stranger needs to know before trusting the model, in plain Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plugins.bundle import Manifest


def write_card(path: Path, manifest: Manifest, note: str = "") -> None:
    """Write the card of a bundle from its manifest."""
    path.write_text(render(manifest, note), encoding="utf-8")


def render(manifest: Manifest, note: str = "") -> str:
    """The card's text."""
    labels = manifest.model.get("labels", [])
    images = manifest.details.get("images")
    measured = f"on {images} {manifest.details.get('evaluated_on', 'validation')} images" if images else ""
    lines = [
        f"# {manifest.name}",
        "",
        f"Trained by Sightloop with `{manifest.algorithm}` on {manifest.created_at}.",
        "",
        "## What it does",
        "",
        f"Answers one of {len(labels)} classes for an image: {', '.join(map(str, labels))}."
        if labels
        else "Reads the text of an image.",
        "",
        f"## How good it is {measured}".rstrip(),
        "",
        *_table(("metric", "value"), [(name, f"{value:.4g}") for name, value in manifest.metrics.items()]),
        "",
        *([note[0].upper() + note[1:] + ".", ""] if note else []),
        *_per_class(manifest.details),
        "The model never saw these images in training, but they come from the same dataset: on images that",
        "look different (another camera, light, background) expect less.",
        "",
        "## How it was made",
        "",
        *_table(("what", "value"), _made_of(manifest)),
        "",
        "Plots are in `plots/`. The numbers above were measured with the exported model, through the code",
        "that serves it.",
        "",
    ]
    return "\n".join(lines)


def _per_class(details: Mapping[str, Any]) -> list[str]:
    rows = details.get("per_class")
    if not isinstance(rows, Mapping):
        return []
    columns = ("precision", "recall", "f1", "support")
    body = [
        (label, *(f"{row.get(name, 0):.3g}" for name in columns))
        for label, row in rows.items()
        if isinstance(row, Mapping)
    ]
    return [*_table(("class", *columns), body), ""]


def _made_of(manifest: Manifest) -> list[tuple[str, ...]]:
    return [
        ("dataset snapshot", manifest.snapshot),
        *((f"base {name}", str(value)) for name, value in manifest.base.items()),
        *((name, str(value)) for name, value in manifest.facts.items() if not isinstance(value, dict | list)),
        *((name, str(value)) for name, value in manifest.parameters.items() if name != "labels"),
        *((name, version) for name, version in manifest.libraries.items()),
    ]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    def row(cells: tuple[str, ...]) -> str:
        escaped = (cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        return "| " + " | ".join(escaped) + " |"

    return [row(head), "|" + " --- |" * len(head), *map(row, rows)]
