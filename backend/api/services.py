"""`/services`: deploy a model, change it, its tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Response
from pydantic import BaseModel, Field

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
from backend.db import SessionFactory, now, transaction
from backend.models import registry as models
from backend.services import deploying, logs, registry, tokens, usage
from backend.services.tables import Service
from backend.views import runtime, workspace_id

bp = blueprint("services", __name__, "Deployed models: instances, quota, tokens")


class ServiceIn(Body):
    """A new service. An instance is one process; 1 quota gives each 1 CPU core and 4 GiB.

    `rate_limit` is in requests a second, 0 for none.
    """

    name: NewName
    model: Typed = Field(max_length=100)
    instances: int = Field(1, ge=1, le=registry.MAX_INSTANCES)
    quota: int = Field(1, ge=1, le=1024)
    rate_limit: int = Field(0, ge=0, le=1_000_000)


class ServiceChange(Body):
    """What to change; what is left out stays."""

    model: Typed | None = Field(None, max_length=100)
    instances: int | None = Field(None, ge=1, le=registry.MAX_INSTANCES)
    quota: int | None = Field(None, ge=1, le=1024)
    rate_limit: int | None = Field(None, ge=0, le=1_000_000)


class ServedOut(Out):
    """A model the service has served, and since when."""

    model_name: str
    digest: str
    at: datetime


class ServiceOut(Out):
    """A service. `endpoint` is the full predict URL; `message` says why it is not Running."""

    name: str
    state: str
    model: str
    instances: int
    ready_instances: int
    quota: int
    rate_limit: int
    endpoint: str
    message: str
    created_at: datetime
    updated_at: datetime


class ServiceDetail(ServiceOut):
    """A service with the models it has served, newest last."""

    served: list[ServedOut]


class ServiceMade(ServiceDetail):
    """A new service with its token, shown once."""

    token: str


class ServicePage(Out):
    """Services by name."""

    items: list[ServiceOut]
    next: str | None


class ServiceTokenOut(Out):
    """A token of a service: its last four characters only."""

    id: int
    last4: str
    created_at: datetime


class ServiceTokenMade(ServiceTokenOut):
    """A new token, shown once."""

    token: str


class ServiceTokenPage(Out):
    """Tokens of a service."""

    items: list[ServiceTokenOut]
    next: int | None


class TokenPath(BaseModel):
    """A token of a service."""

    name: str = Field(max_length=100)
    token_id: int = Field(ge=1, le=2**62)


class UsageQuery(Body):
    """The time to look back, in minutes."""

    minutes: int = Field(60, ge=1, le=1440)


class UsagePoint(Out):
    """What was counted in the time that ends at `at`. Times are those of answers, null where there was none;
    `median_ms` and `p95_ms` are read from a histogram.
    """

    at: datetime
    requests: int
    errors: int
    mean_ms: float | None
    median_ms: float | None
    p95_ms: float | None


class UsageOut(UsagePoint):
    """The use of a service: all, then part by part, oldest first. `codes` counts errors by errorCode."""

    name: str
    state: str
    codes: dict[str, int]
    parts: list[UsagePoint]


class LogQuery(Body):
    """How many lines."""

    lines: int = Field(200, ge=1, le=logs.MOST)


class LogLineOut(Out):
    """An event of a service; `at` is empty for a line that a library printed."""

    at: str
    level: str
    message: str
    facts: dict[str, Any]


class LogPage(Out):
    """The last lines of a log, the newest last."""

    items: list[LogLineOut]
    next: int | None


def _sessions() -> SessionFactory:
    return runtime().sessions


def _out(service: Service) -> dict[str, object]:
    values = {name: getattr(service, name) for name in ServiceOut.model_fields if name != "model"}
    return values | {"model": service.model.name}


def _detail(name: str) -> dict[str, object]:
    with _sessions()() as session:
        service = registry.get(session, workspace_id(), name)
        served = [ServedOut.model_validate(row) for row in registry.served(session, service)]
        return _out(service) | {"served": served}


@bp.post("/services", responses={"201": ServiceMade}, summary="Deploy a model")
def deploy(body: ServiceIn) -> Response:
    """The service starts within seconds; its token is in this answer and nowhere else."""
    token = deploying.deploy(runtime(), workspace_id(), **body.model_dump())
    return answer(ServiceMade.model_validate(_detail(body.name) | {"token": token.text}), 201)


@bp.get("/services", responses={"200": ServicePage}, summary="List services")
def list_services(query: Page) -> Response:
    """By name."""
    with _sessions()() as session:
        rows = registry.page(session, workspace_id(), after=query.after, limit=query.limit)
        items = [ServiceOut.model_validate(_out(row)) for row in rows]
    return listing(items, next_cursor(rows, query.limit, "name"))


@bp.get("/services/<name>", responses={"200": ServiceDetail}, summary="Show a service")
def show_service(path: NamePath) -> Response:
    """With its endpoint and the models it has served."""
    return answer(ServiceDetail.model_validate(_detail(path.name)))


@bp.patch("/services/<name>", responses={"202": ServiceDetail}, summary="Change a service")
def update_service(path: NamePath, body: ServiceChange) -> Response:
    """Another model, more instances, another quota; no accepted request is dropped."""
    with transaction(_sessions()) as session:
        service = registry.get(session, workspace_id(), path.name)
        model = models.get(session, workspace_id(), body.model) if body.model else None
        registry.change(session, service, registry.Change(model, body.instances, body.quota, body.rate_limit))
    return answer(ServiceDetail.model_validate(_detail(path.name)), 202)


@bp.post("/services/<name>/stop", responses={"202": ServiceDetail}, summary="Stop a service")
def stop_service(path: NamePath) -> Response:
    """Its name, port and tokens stay."""
    with transaction(_sessions()) as session:
        registry.stop(session, registry.get(session, workspace_id(), path.name))
    return answer(ServiceDetail.model_validate(_detail(path.name)), 202)


@bp.post("/services/<name>/start", responses={"202": ServiceDetail}, summary="Start a stopped service")
def start_service(path: NamePath) -> Response:
    """Also one that has failed."""
    with transaction(_sessions()) as session:
        registry.start(session, registry.get(session, workspace_id(), path.name))
    return answer(ServiceDetail.model_validate(_detail(path.name)), 202)


@bp.delete("/services/<name>", responses={"202": ServiceDetail}, summary="Delete a service")
def delete_service(path: NamePath) -> Response:
    """Accepted requests are answered first; then the service is gone."""
    with transaction(_sessions()) as session:
        registry.delete(session, registry.get(session, workspace_id(), path.name))
    return answer(ServiceDetail.model_validate(_detail(path.name)), 202)


@bp.get("/services/<name>/usage", responses={"200": UsageOut}, summary="Requests, errors and times")
def service_usage(path: NamePath, query: UsageQuery) -> Response:
    """Of the last minutes; known for a day, noted twice a minute while it runs."""
    with _sessions()() as session:
        service = registry.get(session, workspace_id(), path.name)
        points = usage.points(session, service, timedelta(minutes=query.minutes))
    everything = usage.total(point.count for point in points)
    return answer(
        UsageOut(
            name=service.name,
            state=service.state,
            codes=dict(usage.kinds(everything)),
            parts=[UsagePoint(**_counted(point)) for point in points],
            **_counted(usage.Point(now(), everything)),
        )
    )


def _counted(point: usage.Point) -> dict[str, Any]:
    count = point.count
    times = {"mean_ms": count.mean, "median_ms": count.quantile(0.5), "p95_ms": count.quantile(0.95)}
    return {
        "at": point.at,
        "requests": round(count.total),
        "errors": round(count.errors),
        **{name: None if value is None else round(1000 * value, 1) for name, value in times.items()},
    }


@bp.get("/services/<name>/logs", responses={"200": LogPage}, summary="The log of a running service")
def service_logs(path: NamePath, query: LogQuery) -> Response:
    """The last lines that its processes have written."""
    with _sessions()() as session:
        service = registry.get(session, workspace_id(), path.name)
    lines = logs.last(runtime().settings, service, query.lines)
    return listing([LogLineOut.model_validate(line) for line in lines], None)


@bp.get("/services/<name>/tokens", responses={"200": ServiceTokenPage}, summary="List a service's tokens")
def list_tokens(path: NamePath) -> Response:
    """Without their texts."""
    with _sessions()() as session:
        rows = tokens.of(session, registry.get(session, workspace_id(), path.name))
    return listing([ServiceTokenOut.model_validate(row) for row in rows], None)


@bp.post("/services/<name>/tokens", responses={"201": ServiceTokenMade}, summary="Make another token")
def create_token(path: NamePath) -> Response:
    """Valid on every instance within a second."""
    made = deploying.add_token(runtime(), workspace_id(), path.name)
    row = made.row
    return answer(
        ServiceTokenMade(id=row.id, last4=row.last4, created_at=row.created_at, token=made.text), 201
    )


@bp.delete("/services/<name>/tokens/<int:token_id>", responses={"204": None}, summary="Revoke a token")
def revoke_token(path: TokenPath) -> Response:
    """Refused on every instance within a second."""
    with transaction(_sessions()) as session:
        service = registry.get(session, workspace_id(), path.name)
        tokens.revoke(session, service, path.token_id)
        service.revision = registry.next_revision(session)
    return no_content()
