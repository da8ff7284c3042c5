"""`/host`: what model hosts ask and report, with the host token. Not part of what users call."""

from __future__ import annotations

from typing import Literal

from flask import Response, jsonify, make_response, send_file
from pydantic import BaseModel, Field

from backend.api.schemas import Body, Out, blueprint, no_content
from backend.db import transaction
from backend.models import registry as models
from backend.services import hosting
from backend.views import runtime

bp = blueprint("host", __name__, "Model hosts: what to run, and what they report")


class WaitQuery(Body):
    """Answer when the revision differs from this one, or after `wait` seconds."""

    revision: int = Field(-1, ge=-1, le=2**62)
    wait: float = Field(0, ge=0, le=20)


class TokenAssigned(Out):
    """A token that the service accepts."""

    id: int
    sha256: str
    signing_key: str


class Assigned(Out):
    """A service that this host runs, stops or removes."""

    id: int
    name: str
    model: str
    digest: str
    instances: int
    quota: int
    rate_limit: int
    port: int | None
    desired: Literal["running", "stopped", "deleted"]
    revision: int
    tokens: list[TokenAssigned]


class Assignments(Out):
    """Everything a host should run, stop or remove."""

    revision: int
    services: list[Assigned]


class DigestPath(BaseModel):
    """The digest of a bundle."""

    digest: str = Field(pattern=r"^[0-9a-f]{64}$")


class ServicePath(BaseModel):
    """The id of a service."""

    service_id: int = Field(ge=1, le=2**62)


class ReportIn(Body):
    """What a host says of a service."""

    revision: int = Field(ge=0, le=2**62)
    state: Literal["starting", "ready", "failed", "stopped", "deleted"]
    ready_instances: int = Field(0, ge=0, le=1000)
    port: int | None = Field(None, ge=1, le=65535)
    endpoint: str | None = Field(None, max_length=500)
    message: str = Field("", max_length=4000)


@bp.get("/host/assignments", responses={"200": Assignments}, summary="What to run")
def assignments(query: WaitQuery) -> Response:
    """A long poll."""
    hosting.wait_for_change(runtime().sessions, query.revision, query.wait)
    with runtime().sessions() as session:
        return make_response(jsonify(hosting.assignments(session, runtime().sealer, runtime().settings)))


_FILE = {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}


@bp.get("/host/bundles/<digest>", responses={"200": dict(_FILE)}, summary="Fetch a bundle")
def bundle(path: DigestPath) -> Response:
    """The zip as it is stored; the host verifies it."""
    with runtime().sessions() as session:
        model = hosting.model_of_digest(session, path.digest)
    with models.stored(runtime().artifacts, runtime().settings.s3_bucket, model.digest) as archive:
        return send_file(archive.open("rb"), "application/zip")


@bp.put("/host/services/<int:service_id>", responses={"204": None}, summary="Report on a service")
def report(path: ServicePath, body: ReportIn) -> Response:
    """Whenever its readiness changes."""
    with transaction(runtime().sessions) as session:
        hosting.take_report(session, path.service_id, hosting.Report(**body.model_dump()))
    return no_content()
