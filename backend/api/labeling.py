"""`/datasets/<name>/labeling`, `/datasets/<name>/labels/history`, and what Label Studio's webhooks call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request
from pydantic import Field
from sqlalchemy import select

from backend.api.datasets import OperationOut, operation_out
from backend.api.schemas import Body, IdPage, NamePath, Out, answer, blueprint, listing, next_cursor
from backend.datasets import registry as datasets
from backend.datasets.launching import launch_labeling
from backend.datasets.tables import Image
from backend.label_studio import registry
from backend.labels.tables import LabelChange
from backend.views import runtime, workspace_id

bp = blueprint("labeling", __name__, "Labeling in Label Studio")
hooks = Blueprint("hooks", __name__)


class LabelingIn(Body):
    """Classes to offer beside those that the dataset has."""

    labels: list[str] = Field(default_factory=list, max_length=1000)


class LabelingOut(Out):
    """The Label Studio project of a dataset. `state` is `none`, `ready` or `failing`; `url` is empty before
    the first run. `next_url` is the tab of what to label next, empty before there is an order.
    """

    name: str
    state: str
    url: str
    next_url: str
    project: int | None
    items: int
    annotated: int
    skipped: int
    archived: int
    reconciled_at: datetime | None
    hinted_at: datetime | None
    error: str


class HistoryQuery(IdPage):
    """Changes after an id, of one image or of all."""

    key: str = Field("", max_length=1024)


class ChangeOut(Out):
    """One change of an image's label; null is no label. `file` is the label file in the bucket that said it;
    with `file_removed` it said what was before, and is gone or does not name the image any more.
    """

    id: int
    key: str
    source: str
    author: str
    at: datetime
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    file: str
    file_removed: bool


class HistoryPage(Out):
    """Changes in the order in which they were made."""

    items: list[ChangeOut]
    next: int | None


@bp.post("/datasets/<name>/labeling", responses={"202": OperationOut}, summary="Label a dataset")
def label_dataset(path: NamePath, body: LabelingIn) -> Response:
    """Makes or updates the project in Label Studio and its items; ask for the operation to follow it."""
    row = launch_labeling(runtime(), workspace_id(), path.name, body.labels)
    return answer(operation_out(row), 202)


@bp.get("/datasets/<name>/labeling", responses={"200": LabelingOut}, summary="Show the labeling")
def show_labeling(path: NamePath) -> Response:
    """Where to label, how many items there are, and when they were read last."""
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), path.name)
        return answer(LabelingOut(**registry.state(session, runtime().settings, dataset)))


@bp.get("/datasets/<name>/labels/history", responses={"200": HistoryPage}, summary="History of labels")
def label_history(path: NamePath, query: HistoryQuery) -> Response:
    """Who changed what and when, and what it was before."""
    with runtime().sessions() as session:
        dataset = datasets.get(session, workspace_id(), path.name)
        chosen = (
            select(LabelChange, Image.key)
            .join(Image, Image.id == LabelChange.image_id)
            .where(LabelChange.dataset_id == dataset.id, LabelChange.id > query.after)
        )
        if query.key:
            chosen = chosen.where(Image.key == query.key)
        rows = session.execute(chosen.order_by(LabelChange.id).limit(query.limit)).all()
    names = [name for name in ChangeOut.model_fields if name != "key"]
    items = [ChangeOut(key=key, **{name: getattr(row, name) for name in names}) for row, key in rows]
    return listing(items, next_cursor(items, query.limit, "id"))


@hooks.post("/hooks/label-studio/<int:project_id>")
def hint(project_id: int) -> Response:
    """A webhook: only a hint that something has changed. Its body is not read; nothing waits for a lock."""
    with runtime().sessions() as session:
        secret = request.headers.get(registry.SECRET_HEADER, "")
        registry.authenticate_hint(session, runtime().sealer, project_id, secret)
    registry.hint(runtime().redis, project_id)
    return Response(status=202)
