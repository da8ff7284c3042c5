"""`/models`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from flask import Response, send_file
from pydantic import BaseModel, Field

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
from backend.models import answers, excerpts, registry, removal
from backend.models.precision import Precision, onnx_file
from backend.models.tables import Model
from backend.views import runtime, workspace_id

bp = blueprint("models", __name__, "Trained models: metrics, comparison, export")


class ModelOut(Out):
    """A model. `worse_than` names the model before it when this one measured worse; `parent` the model that
    its training went on from. `served` says whether fp32 or int8 is served and why; empty where nothing else
    was tried. `headline` names the metric that ranks models of this plugin; empty where the plugin is not
    installed any more.
    """

    name: str
    state: str = "ready"
    plugin: str
    algorithm: str
    labels: list[str]
    metrics: dict[str, float]
    headline: str
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
    """One metric of both models; `difference` is second minus first, `favours` 1 where the second is better,
    -1 where it is worse, else 0.
    """

    first: float
    second: float
    difference: float
    favours: int


class ComparisonOut(Out):
    """Two models side by side; `state` is `same_snapshot` or `other_snapshot`."""

    name: str
    other: str
    state: str
    metrics: dict[str, MetricPair]
    note: str


class JudgedOut(Out):
    """An answer beside the truth; either is null where there is none."""

    key: str
    truth: str | None
    answer: str | None
    conf: float
    right: bool


class AnswersQuery(IdPage):
    """Those with one label, one answer, or both; `after` is the number of those seen."""

    truth: str = Field("", max_length=1000)
    answer: str = Field("", max_length=1000)


class AnswersPage(Out):
    """Answers of a model's evaluation, the surest first."""

    items: list[JudgedOut]
    next: int | None


class LevelOut(Out):
    """What becomes of the answers when those below `confidence` are not acted on: the share of the answers
    that is left, the share of these that is right, and the share of all there was to answer that is right.
    """

    confidence: float
    answered: float
    precision: float | None
    recall: float


class LevelsPage(Out):
    """From confidence 0 to 1; empty for a model that keeps no list of its answers."""

    items: list[LevelOut]
    next: int | None


class FlipOut(Out):
    """An image that two models do not judge alike."""

    key: str
    before: list[JudgedOut]
    after: list[JudgedOut]


class FlipsOut(Out):
    """Two models on the images that both were measured on; `right` counts the images without a mistake.
    `p_value` is how probable so unequal numbers of better and worse images are between equally good models.
    """

    name: str
    other: str
    images: int
    right: list[int]
    p_value: float
    better: list[FlipOut]
    worse: list[FlipOut]


class OnnxQuery(Body):
    """Which of the files."""

    precision: Precision = Field("served", description="`served`: the one that a service runs")


_BYTES = {"schema": {"type": "string", "format": "binary"}}


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
        name: MetricPair(first=first, second=second, difference=difference, favours=found.favours[name])
        for name, (first, second, difference) in found.metrics.items()
    }
    state = "same_snapshot" if found.same_snapshot else "other_snapshot"
    return answer(
        ComparisonOut(name=path.name, other=path.other, state=state, metrics=metrics, note=found.note)
    )


@bp.get(
    "/models/<name>/compare/<other>/images",
    responses={"200": FlipsOut},
    summary="Compare two models' answers",
)
def compare_answers(path: PairPath) -> Response:
    """The images on which the second has fewer mistakes than the first (`better`), or more (`worse`)."""
    first, second = (excerpts.judged(runtime(), _get(name)) for name in (path.name, path.other))
    found = answers.flips(first, second)
    sides = {
        side: [FlipOut.model_validate(flip) for flip in getattr(found, side)] for side in ("better", "worse")
    }
    return answer(
        FlipsOut(
            name=path.name,
            other=path.other,
            images=found.images,
            right=list(found.right),
            p_value=found.p_value,
            **sides,
        )
    )


@bp.get("/models/<name>/answers", responses={"200": AnswersPage}, summary="Answers of the evaluation")
def list_answers(path: NamePath, query: AnswersQuery) -> Response:
    """One by one; none of a model that keeps no list of them."""
    found = answers.of_cell(excerpts.judged(runtime(), _get(path.name)), query.truth, query.answer)
    end = query.after + query.limit
    items = [JudgedOut.model_validate(one) for one in found[query.after : end]]
    return listing(items, end if len(found) > end else None)


@bp.get("/models/<name>/levels", responses={"200": LevelsPage}, summary="From which confidence on to act")
def list_levels(path: NamePath) -> Response:
    """Of the answers of the evaluation, in steps of a hundredth."""
    found = answers.levels(excerpts.judged(runtime(), _get(path.name)))
    return listing([LevelOut.model_validate(level) for level in found], None)


@bp.get(
    "/models/<name>/bundle",
    responses={"200": {"content": {"application/zip": _BYTES}}},
    summary="Download a model's bundle",
)
def download_bundle(path: NamePath) -> Response:
    """The whole bundle as one zip, verified before it is sent."""
    with _verified(path.name) as archive:
        return send_file(archive.open("rb"), "application/zip", True, f"{path.name}.zip")


@bp.get(
    "/models/<name>/onnx",
    responses={"200": {"content": {"application/octet-stream": _BYTES}}},
    summary="Download a model's ONNX file",
)
def download_onnx(path: NamePath, query: OnnxQuery) -> Response:
    """The model alone, for other programs: the file that is served, or the one of the precision asked for."""
    with _verified(path.name) as archive:
        content = onnx_file(archive, path.name, query.precision)
    return send_file(BytesIO(content), "application/octet-stream", True, f"{path.name}.onnx")


def _verified(name: str) -> AbstractContextManager[Path]:
    return registry.verified(runtime().artifacts, runtime().settings.s3_bucket, _get(name))


@bp.delete("/models/<name>", responses={"204": None}, summary="Delete a model")
def delete_model(path: NamePath) -> Response:
    """With its bundle. Refused while a service serves it or a training starts from it; the dataset's current
    model is then the newest good one before it.
    """
    removal.delete(runtime(), workspace_id(), path.name)
    return no_content()
