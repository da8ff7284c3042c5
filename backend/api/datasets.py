"""`/datasets` and `/operations`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Response
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from backend.api.schemas import (
    Body,
    IdPage,
    NamePath,
    NewName,
    Out,
    Page,
    Text1000,
    Typed,
    answer,
    blueprint,
    listing,
    next_cursor,
)
from backend.datasets import operations, registry, removal
from backend.datasets.launching import launch_operation
from backend.datasets.tables import Dataset, Operation
from backend.db import transaction
from backend.errors import NotFound
from backend.views import runtime, workspace_id
from backend.workspaces import registry as workspaces
from backend.workspaces.tables import DEFAULT_CONNECTION
from plugins import registry as plugins

bp = blueprint("datasets", __name__, "Datasets: index, findings, sync and check")


class DatasetIn(Body):
    """A new dataset over `s3://BUCKET/PREFIX`."""

    name: NewName
    type: Typed = Field(max_length=30, description="a type that a plugin serves: classification or ocr")
    path: Typed = Field(max_length=1100, examples=["s3://factory/parts"])
    description: Text1000 = ""
    connection: Typed = Field(DEFAULT_CONNECTION, max_length=100)


class DatasetOut(Out):
    """A dataset. `state` is `new` (never synced), `syncing`, `checking` or `ready`."""

    name: str
    state: str
    type: str
    path: str
    description: str
    connection: str
    created_at: datetime
    synced_at: datetime | None
    checked_at: datetime | None


class ClassCount(Out):
    """Images of a class; `usable` ones have no finding that keeps them out of training."""

    label: str
    images: int
    usable: int


class FindingCount(Out):
    """How many findings of one code there are, and what to do about them."""

    code: str
    severity: str
    title: str
    advice: str
    count: int


class DatasetDetail(DatasetOut):
    """A dataset with its numbers; `findings` has the errors first."""

    images: int
    labelled: int
    unlabelled: int
    usable: int
    unchecked: int
    deleted: int
    classes: list[ClassCount]
    findings: list[FindingCount]


class DatasetPage(Out):
    """Datasets by name."""

    items: list[DatasetOut]
    next: str | None


class DeleteQuery(Body):
    """What goes with a dataset."""

    with_models: bool = Field(False, description="also delete the models that were trained on it")


class DatasetDeleted(Out):
    """What went with a dataset; `label_studio` is the address of its project, which stays."""

    name: str
    state: str = "deleted"
    models: list[str]
    tasks: list[str]
    label_studio: str


class OperationOut(Out):
    """Work on a dataset in the background. `kind` is sync, check, label (into Label Studio), prelabel, next,
    doubts or reconcile (with Label Studio, by itself); `state` is queued, running, succeeded or failed.
    """

    id: int
    name: str
    kind: str
    state: str
    done: int
    total: int | None
    result: dict[str, Any]
    error_code: str
    error: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class FindingsQuery(IdPage):
    """Findings after an id, of one code or severity or of all."""

    code: str = Field("", max_length=40)
    severity: str = Field("", max_length=10)


class FindingOut(Out):
    """Something that `sync` or `check` noticed; `key` is empty when it is about the dataset."""

    id: int
    source: str
    code: str
    severity: str
    key: str
    message: str
    advice: str
    created_at: datetime


class FindingPage(Out):
    """Findings."""

    items: list[FindingOut]
    next: int | None


class ImagesQuery(Page):
    """Images after a key, of one label or of all."""

    label: str = Field("", max_length=500)


class ImageOut(Out):
    """An indexed image; what only `check` knows is null before it. `label_file`: the file in the bucket that
    says the label, null where none does.
    """

    key: str
    etag: str
    size: int
    state: str
    label: str | None
    label_source: str | None
    label_file: str | None
    usable: bool
    width: int | None
    height: int | None
    content_hash: str | None


class ImagePage(Out):
    """Images by key."""

    items: list[ImageOut]
    next: str | None


class OperationPath(BaseModel):
    """The id of an operation."""

    operation_id: int = Field(ge=1, le=2**62)


def _out(session: Session, dataset: Dataset) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "state": registry.state(session, dataset),
        "type": dataset.type,
        "path": f"s3://{dataset.bucket}/{dataset.prefix}",
        "description": dataset.description,
        "connection": dataset.connection.name,
        "created_at": dataset.created_at,
        "synced_at": dataset.synced_at,
        "checked_at": dataset.checked_at,
    }


def _detail(name: str) -> DatasetDetail:
    with runtime().sessions() as session:
        dataset = registry.get(session, workspace_id(), name)
        return DatasetDetail(**(registry.summary(session, dataset) | _out(session, dataset)))


def operation_out(row: Operation) -> OperationOut:
    """An operation, with its dataset loaded, as the API shows it."""
    values = {name: getattr(row, name) for name in OperationOut.model_fields if name != "name"}
    return OperationOut(**values, name=row.dataset.name)


@bp.post("/datasets", responses={"201": DatasetDetail}, summary="Create a dataset")
def create_dataset(body: DatasetIn) -> Response:
    """The bucket must be there; nothing is read from it before the first sync."""
    request = registry.DatasetRequest(body.name, body.type, body.path, body.description)
    types = {plugin.dataset_type for plugin in plugins.plugins()}
    with runtime().sessions() as session:
        connection = workspaces.connection(session, workspace_id(), body.connection)
    registry.create(runtime().sessions, request, connection, runtime().store(connection), types)
    return answer(_detail(body.name), 201)


@bp.get("/datasets", responses={"200": DatasetPage}, summary="List datasets")
def list_datasets(query: Page) -> Response:
    """By name."""
    with runtime().sessions() as session:
        rows = registry.list_(session, workspace_id(), limit=query.limit, after=query.after or None)
        items = [DatasetOut(**_out(session, row)) for row in rows]
    return listing(items, next_cursor(rows, query.limit, "name"))


@bp.get("/datasets/<name>", responses={"200": DatasetDetail}, summary="Show a dataset")
def show_dataset(path: NamePath) -> Response:
    """With its classes and the number of findings."""
    return answer(_detail(path.name))


@bp.delete("/datasets/<name>", responses={"200": DatasetDeleted}, summary="Delete a dataset")
def delete_dataset(path: NamePath, query: DeleteQuery) -> Response:
    """Forgets its index, labels and training tasks; the images stay in the bucket, and the project in Label
    Studio. Refused while anything works on it, and while it has models unless they are to go too.
    """
    gone = removal.delete(runtime(), workspace_id(), path.name, with_models=query.with_models)
    return answer(
        DatasetDeleted(
            name=path.name,
            models=list(gone.models),
            tasks=list(gone.tasks),
            label_studio=gone.label_studio,
        )
    )


@bp.post("/datasets/<name>/sync", responses={"202": OperationOut}, summary="Sync a dataset")
def sync_dataset(path: NamePath) -> Response:
    """Lists the prefix and brings the index up to date; ask for the operation to follow it."""
    return _start(path.name, "sync")


@bp.post("/datasets/<name>/check", responses={"202": OperationOut}, summary="Check a dataset")
def check_dataset(path: NamePath) -> Response:
    """Reads the images that are new or changed; ask for the operation to follow it."""
    return _start(path.name, "check")


@bp.post("/datasets/<name>/prelabel", responses={"202": OperationOut}, summary="Pre-label a dataset")
def prelabel_dataset(path: NamePath) -> Response:
    """Puts the current model's predictions into Label Studio, for all items without a label."""
    return _start(path.name, "prelabel")


def _start(name: str, kind: str) -> Response:
    return answer(operation_out(launch_operation(runtime(), workspace_id(), name, kind)), 202)


@bp.get("/operations/<int:operation_id>", responses={"200": OperationOut}, summary="Show an operation")
def show_operation(path: OperationPath) -> Response:
    """Its progress, and what came of it."""
    with runtime().sessions() as session:
        row = session.get(Operation, path.operation_id)
        if row is None or row.dataset.workspace_id != workspace_id():
            raise NotFound(f"there is no operation {path.operation_id}")
        return answer(operation_out(row))


@bp.post("/operations/<int:operation_id>/stop", responses={"202": OperationOut}, summary="Stop an operation")
def stop_operation(path: OperationPath) -> Response:
    """It ends with what it has done: heeded by `label`, `prelabel`, `next` and `doubts`."""
    with transaction(runtime().sessions) as session:
        row = session.get(Operation, path.operation_id)
        if row is None or row.dataset.workspace_id != workspace_id():
            raise NotFound(f"there is no operation {path.operation_id}")
        operations.stop(session, row)
        out = operation_out(row)
    return answer(out, 202)


@bp.get("/datasets/<name>/findings", responses={"200": FindingPage}, summary="List findings")
def list_findings(path: NamePath, query: FindingsQuery) -> Response:
    """What the last sync and check noticed."""
    with runtime().sessions() as session:
        dataset = registry.get(session, workspace_id(), path.name)
        rows = registry.list_findings(
            session,
            dataset,
            limit=query.limit,
            after=query.after,
            code=query.code or None,
            severity=query.severity or None,
        )
    return listing([FindingOut.model_validate(row) for row in rows], next_cursor(rows, query.limit, "id"))


@bp.get("/datasets/<name>/images", responses={"200": ImagePage}, summary="List images")
def list_images(path: NamePath, query: ImagesQuery) -> Response:
    """By key."""
    with runtime().sessions() as session:
        dataset = registry.get(session, workspace_id(), path.name)
        rows = registry.images(
            session, dataset, limit=query.limit, after=query.after or None, label=query.label or None
        )
    return listing([ImageOut.model_validate(row) for row in rows], next_cursor(rows, query.limit, "key"))
