"""Pages of models: list, detail, plots, downloads."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, request, send_file
from sqlalchemy.orm import Session

from backend.console import judging
from backend.console.page import show
from backend.datasets.tables import Dataset
from backend.errors import AppError
from backend.models import answers, excerpts, registry
from backend.models.precision import Precision, compared, onnx_file
from backend.models.tables import Model
from backend.views import runtime, workspace_id

bp = Blueprint("models", __name__)
PAGE = 50
_MOST_CLASSES = 30  # of a confusion matrix that a page can show
_SHADES = 9
_OTHERS = 100  # models of the same dataset to compare with
_FIRST_LEVEL = 80  # of the hundredths of confidence, where the slider stands at first


@bp.get("/models")
def index() -> Response:
    """Newest first."""
    after = request.args.get("after", 0, int)
    with runtime().sessions() as session:
        rows = registry.page(session, workspace_id(), after=after, limit=PAGE)
    return show("models.html", rows=rows, after=after, following=rows[-1].id if len(rows) == PAGE else 0)


@bp.get("/models/<name>")
def detail(name: str) -> Response:
    """What is known of it; without its bundle, which the store may not hand out, what the database knows."""
    with runtime().sessions() as session:
        model = registry.get(session, workspace_id(), name)
        others = [row.name for row in registry.of_dataset(session, model.dataset_id, limit=_OTHERS)]
        dataset = session.get_one(Dataset, model.dataset_id).name
        values = _of_bundle(session, model)
    return show(
        "model.html",
        model=model,
        dataset=dataset,
        files=compared(model.facts),
        others=[other for other in others if other != name],
        **values,
    )


def _of_bundle(session: Session, model: Model) -> dict[str, Any]:
    try:
        manifest = excerpts.manifest(runtime(), model)
        levels = answers.levels(excerpts.judged(runtime(), model))
    except AppError as error:
        return {
            "missing": str(error),
            "details": {},
            "plots": [],
            "confusion": None,
            "levels": [],
            "worst": [],
        }
    return {
        "missing": "",
        "manifest": manifest,
        "details": manifest.details,
        "plots": excerpts.plots(manifest),
        "confusion": _confusion(manifest.details),
        "worst": judging.worst(session, runtime().settings, model, manifest.details),
        "levels": levels,
        "level": levels[_FIRST_LEVEL] if levels else None,
        "levels_json": json.dumps([asdict(level) for level in levels]),
        "curves": judging.curves(levels),
    }


@bp.get("/models/<name>/plots/<plot>")
def plot(name: str, plot: str) -> Response:
    """A drawing of its bundle; as it never changes, browsers keep it."""
    return send_file(excerpts.plot(runtime(), _get(name), plot), "image/png", max_age=24 * 3600)


@bp.get("/models/<name>/bundle")
def bundle(name: str) -> Response:
    """The whole bundle as one zip, verified before it is sent."""
    with _verified(name) as archive:
        return send_file(archive.open("rb"), "application/zip", True, f"{name}.zip")


@bp.get("/models/<name>/onnx")
def onnx(name: str) -> Response:
    """The file that a service runs, or the one of a precision, for other programs."""
    asked: dict[str, Precision] = {"fp32": "fp32", "int8": "int8"}
    precision = asked.get(request.args.get("precision", ""), "served")
    with _verified(name) as archive:
        content = onnx_file(archive, name, precision)
    suffix = "" if precision == "served" else f"-{precision}"
    return send_file(BytesIO(content), "application/octet-stream", True, f"{name}{suffix}.onnx")


def _get(name: str) -> Model:
    with runtime().sessions() as session:
        return registry.get(session, workspace_id(), name)


def _verified(name: str) -> AbstractContextManager[Path]:
    return registry.verified(runtime().artifacts, runtime().settings.s3_bucket, _get(name))


def _confusion(details: Any) -> list[tuple[str, list[tuple[int, int]]]] | None:
    """Rows of (class, cells of (count, shade 0 to 9 of the row's images)); None where there is no matrix."""
    labels, counts = details.get("labels", []), details.get("confusion")
    if not counts or len(labels) > _MOST_CLASSES:
        return None
    return [
        (label, [(cell, round(_SHADES * cell / (sum(row) or 1))) for cell in row])
        for label, row in zip(labels, counts, strict=True)
    ]
