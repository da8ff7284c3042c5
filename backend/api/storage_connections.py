"""`/storage-connections`: stores, and uploads to them through presigned URLs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from flask import Response
from pydantic import Field
from sqlalchemy import select

from backend.api.schemas import (
    Body,
    NamePath,
    NewName,
    Out,
    Page,
    Typed,
    answer,
    blueprint,
    listing,
    next_cursor,
    no_content,
)
from backend.db import transaction
from backend.views import runtime, workspace_id
from backend.workspaces import connecting, registry, uploads
from backend.workspaces.tables import StorageConnection

bp = blueprint("storage-connections", __name__, "S3-compatible stores: MinIO, SeaweedFS, OSS, S3")
_UPLOAD_EXPIRES = timedelta(hours=1)


class ConnectionIn(Body):
    """A new storage connection; it is tested before it is saved."""

    name: NewName
    endpoint: Typed = Field(
        max_length=500, description="such as https://s3.example.org or http://127.0.0.1:9000"
    )
    access_key: Typed = Field("", max_length=200)
    secret_key: Typed = Field("", max_length=500)
    region: Typed = Field("us-east-1", max_length=60, pattern=r"^[A-Za-z0-9-]+$")
    addressing: Literal["auto", "path", "virtual"] = Field(
        "auto", description="where the bucket's name stands: in the path, or before the host (OSS)"
    )
    public_endpoint: Typed = Field("", max_length=500, description="address of the store as clients see it")


class CredentialsIn(Body):
    """Other credentials for the same store."""

    access_key: Typed = Field(max_length=200)
    secret_key: Typed = Field(max_length=500)


class ConnectionOut(Out):
    """A storage connection, without its secret key."""

    name: str
    state: str
    endpoint: str
    public_endpoint: str
    region: str
    access_key: str
    addressing: str
    created_at: datetime


class ConnectionPage(Out):
    """Storage connections."""

    items: list[ConnectionOut]
    next: str | None


class FileIn(Body):
    """One file to upload: its key, bytes and MD5 in hex."""

    key: str = Field(min_length=1, max_length=1024)
    size: int = Field(ge=0, le=5 * 1024**3)
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")


class UploadsIn(Body):
    """Files to upload."""

    bucket: Typed = Field(max_length=63)
    create_bucket: bool = True
    files: list[FileIn] = Field(min_length=1, max_length=500)


class UploadOut(Out):
    """Where to PUT one file; `url` is null when the same content is there already."""

    key: str
    url: str | None


class UploadsOut(Out):
    """One entry a file, in order; `created_bucket` says that the bucket was made."""

    uploads: list[UploadOut]
    created_bucket: bool


@bp.get("/storage-connections", responses={"200": ConnectionPage}, summary="List storage connections")
def list_connections(query: Page) -> Response:
    """By name."""
    statement = (
        select(StorageConnection)
        .where(StorageConnection.workspace_id == workspace_id(), StorageConnection.name > query.after)
        .order_by(StorageConnection.name)
        .limit(query.limit)
    )
    with runtime().sessions() as session:
        rows = session.scalars(statement).all()
    return listing([ConnectionOut.model_validate(r) for r in rows], next_cursor(rows, query.limit, "name"))


@bp.post("/storage-connections", responses={"201": ConnectionOut}, summary="Create a storage connection")
def create_connection(body: ConnectionIn) -> Response:
    """Tested with its credentials first; nothing is saved when the store refuses."""
    request = registry.ConnectionRequest(**body.model_dump())
    return answer(ConnectionOut.model_validate(connecting.connect(runtime(), workspace_id(), request)), 201)


@bp.get("/storage-connections/<name>", responses={"200": ConnectionOut}, summary="Show a storage connection")
def show_connection(path: NamePath) -> Response:
    """Without the secret key, which never leaves the server."""
    with runtime().sessions() as session:
        row = registry.connection(session, workspace_id(), path.name)
    return answer(ConnectionOut.model_validate(row))


@bp.post("/storage-connections/<name>/test", responses={"200": ConnectionOut}, summary="Test a connection")
def test_connection(path: NamePath) -> Response:
    """Asks the store with the saved credentials; a problem says what is wrong."""
    return answer(ConnectionOut.model_validate(connecting.test(runtime(), workspace_id(), path.name)))


@bp.patch(
    "/storage-connections/<name>",
    responses={"200": ConnectionOut},
    summary="Change the credentials",
)
def change_connection(path: NamePath, body: CredentialsIn) -> Response:
    """Tested first; the old ones stay when the store refuses the new ones."""
    row = connecting.change_credentials(runtime(), workspace_id(), path.name, **body.model_dump())
    return answer(ConnectionOut.model_validate(row))


@bp.delete("/storage-connections/<name>", responses={"204": None}, summary="Delete a storage connection")
def delete_connection(path: NamePath) -> Response:
    """Refused while datasets read through it."""
    with transaction(runtime().sessions) as session:
        registry.delete_connection(session, registry.connection(session, workspace_id(), path.name))
    return no_content()


@bp.post("/storage-connections/<name>/uploads", responses={"200": UploadsOut}, summary="Prepare uploads")
def prepare_uploads(path: NamePath, body: UploadsIn) -> Response:
    """Presigned URLs, valid for an hour, for the files whose content is not in the bucket yet."""
    with runtime().sessions() as session:
        store = runtime().store(registry.connection(session, workspace_id(), path.name))
    files = [uploads.File(f.key, f.size, f.md5) for f in body.files]
    plan = uploads.plan(store, body.bucket, files, create_bucket=body.create_bucket, expires=_UPLOAD_EXPIRES)
    return answer(
        UploadsOut(
            uploads=[UploadOut(key=key, url=url) for key, url in plan.urls],
            created_bucket=plan.created_bucket,
        )
    )
