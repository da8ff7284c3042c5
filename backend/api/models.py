"""`/models`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from flask import Response, send_file
from pydantic import BaseModel, Field

from backend.api.edge import runtime, workspace_id
from backend.api.schemas import (
    Body,
    IdPage,
    NamePath,
    Out,
    answer,
    blueprint,
    listing,
    next_cursor,
    no_content,
)
from backend.db import transaction
from backend.models import registry
from backend.models.precision import Precision, onnx_file
from backend.models.tables import Model

bp = blueprint("models", __name__, "Trained models: metrics, comparison, export")


class ModelOut(Out):
    """A model. `worse_than` names the model before it when this one measured worse; `parent` the model that
    its training went on from. `served` says whether fp32 or int8 is served and why; empty where nothing else
    was tried.
    """

    name: str
    state: str = "ready"
    plugin: str
    algorithm: str
    labels: list[str]
    metrics: dict[str, float]
    facts: dict[str, Any]
    digest: str
    size: int
    served: str
    snapshot: str
    parent: str
    worse_than: str
    note: str
    created_at: datetime


class ModelPage(Out):
    """Models, newest first."""

    items: list[ModelOut]
    next: int | None


class PairPath(BaseModel):
    """Two models."""

    name: str = Field(max_length=100)
    other: str = Field(max_length=100)


class MetricPair(Out):
    """One metric of both models; `difference` is second minus first."""

    first: float
    second: float
    difference: float


class ComparisonOut(Out):
    """Two models side by side; `state` is `same_snapshot` or `other_snapshot`."""

    name: str
    other: str
    state: str
    metrics: dict[str, MetricPair]
    note: str


class OnnxQuery(Body):
    """Which of the files."""

    precision: Precision = Field("served", description="`served`: the one that a service runs")


_FILE = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}


def _get(name: str) -> Model:
    with runtime().sessions() as session:
        return registry.get(session, workspace_id(), name)


@bp.get("/models", responses={"200": ModelPage}, summary="List models")
def list_models(query: IdPage) -> Response:
    """Newest first."""
    with runtime().sessions() as session:
        rows = registry.page(session, workspace_id(), after=query.after, limit=query.limit)
    return listing([ModelOut.model_validate(row) for row in rows], next_cursor(rows, query.limit, "id"))


@bp.get("/models/<name>", responses={"200": ModelOut}, summary="Show a model")
def show_model(path: NamePath) -> Response:
    """Its metrics, labels and facts."""
    return answer(ModelOut.model_validate(_get(path.name)))


@bp.get("/models/<name>/compare/<other>", responses={"200": ComparisonOut}, summary="Compare two models")
def compare_models(path: PairPath) -> Response:
    """Metric by metric."""
    found = registry.compare(_get(path.name), _get(path.other))
    metrics = {
        name: MetricPair(first=first, second=second, difference=difference)
        for name, (first, second, difference) in found.metrics.items()
    }
    state = "same_snapshot" if found.same_snapshot else "other_snapshot"
    return answer(
        ComparisonOut(name=path.name, other=path.other, state=state, metrics=metrics, note=found.note)
    )


@bp.get("/models/<name>/bundle", responses={"200": dict(_FILE)}, summary="Download a model's bundle")
def download_bundle(path: NamePath) -> Response:
    """The whole bundle as one zip, verified before it is sent."""
    with _verified(path.name) as archive:
        return send_file(archive.open("rb"), "application/zip", True, f"{path.name}.zip")


@bp.get("/models/<name>/onnx", responses={"200": dict(_FILE)}, summary="Download a model's ONNX file")
def download_onnx(path: NamePath, query: OnnxQuery) -> Response:
    """The model alone, for other programs: the file that is served, or the one of the precision asked for."""
    with _verified(path.name) as archive:
        content = onnx_file(archive, path.name, query.precision)
    return send_file(BytesIO(content), "application/octet-stream", True, f"{path.name}.onnx")


def _verified(name: str) -> AbstractContextManager[Path]:
    return registry.verified(runtime().artifacts, runtime().settings.s3_bucket, _get(name))


@bp.delete("/models/<name>", responses={"204": None}, summary="Delete a model")
def delete_model(path: NamePath) -> Response:
    """Refused while a service serves it."""
    with transaction(runtime().sessions) as session:
        registry.delete(session, registry.get(session, workspace_id(), path.name))
    return no_content()
