"""Services as the API sees them: deploy, find, change, stop, start, delete. Each change bumps the revision
that hosts wait for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import InsufficientResources, InvalidRequest, NameTaken, NotFound, WrongState
from backend.models.tables import Model
from backend.names import check_name
from backend.services.lifecycle import ServiceState, advance
from backend.services.tables import HostRevision, ServedModel, Service

QUOTA_BYTES = 4 * 1024**3  # 1 quota = 1 CPU core and 4 GiB
MAX_INSTANCES = 64
# In these states nothing answers yet (or any more): a change is taken in, and the state stays.
_NOT_ANSWERING = frozenset({"Creating", "Waiting", "Stopping", "Stopped"})


@dataclass(frozen=True)
class Change:
    """What a user wants changed; None leaves it."""

    model: Model | None = None
    instances: int | None = None
    quota: int | None = None
    rate_limit: int | None = None


def next_revision(session: Session) -> int:
    """Bump the revision that hosts wait for. Others who bump it wait for the end of this transaction: no two
    changes have the same one, and the newest is committed last.
    """
    with session.no_autoflush:  # its lock goes before that of a service, so that no two wait for each other
        row = session.get(HostRevision, 1, with_for_update=True)
    if row is None:
        row = HostRevision(id=1, value=0)
        session.add(row)
    row.value += 1
    session.flush()
    return row.value


def revision(session: Session) -> int:
    """The newest revision of any service; 0 when there never was one."""
    return session.scalar(select(HostRevision.value).where(HostRevision.id == 1)) or 0


def create(
    session: Session, model: Model, name: str, *, instances: int, quota: int, rate_limit: int = 0
) -> Service:
    """A new service in `Creating`. Raises `NameTaken`, `InvalidRequest`, `InsufficientResources`."""
    check_name(name, "service")
    taken = select(Service.id).where(Service.workspace_id == model.workspace_id, Service.name == name)
    if session.scalar(taken) is not None:
        raise NameTaken(
            f"there is a service named {name!r} already; `sightloop services update {name}` changes it"
        )
    _check_resources(instances, quota)
    service = Service(
        workspace_id=model.workspace_id,
        model=model,
        name=name,
        instances=instances,
        quota=quota,
        rate_limit=rate_limit,
        revision=next_revision(session),
    )
    session.add(service)
    session.flush()
    session.add(ServedModel(service_id=service.id, model_name=model.name, digest=model.digest))
    return service


def _check_resources(instances: int, quota: int) -> None:
    if not 1 <= instances <= MAX_INSTANCES:
        raise InvalidRequest(f"instances must be 1 to {MAX_INSTANCES}, not {instances}")
    cores, memory = os.cpu_count() or 1, psutil.virtual_memory().total
    if quota < 1:
        raise InvalidRequest(f"the quota must be at least 1, not {quota}")
    if quota > cores or quota * QUOTA_BYTES > memory * 1.1:
        fits = max(1, min(cores, int(memory * 1.1 // QUOTA_BYTES)))
        raise InsufficientResources(
            f"a quota of {quota} needs {quota} CPU cores and {quota * 4} GiB for each instance; this host "
            f"has {cores} cores and {memory / 1024**3:.0f} GiB. Use a quota of at most {fits}"
        )


def get(session: Session, workspace_id: int, name: str) -> Service:
    """The service of that name. Raises `NotFound`."""
    service = session.scalar(
        select(Service).where(Service.workspace_id == workspace_id, Service.name == name)
    )
    if service is None:
        raise NotFound(f"there is no service {name!r}; `sightloop services list` shows all")
    return service


def page(session: Session, workspace_id: int, *, after: str, limit: int) -> list[Service]:
    """Services by name, after the name `after`."""
    return list(
        session.scalars(
            select(Service)
            .where(Service.workspace_id == workspace_id, Service.name > after)
            .order_by(Service.name)
            .limit(limit)
        )
    )


def served(session: Session, service: Service) -> list[ServedModel]:
    """The models it has served, newest last."""
    statement = select(ServedModel).where(ServedModel.service_id == service.id)
    return list(session.scalars(statement.order_by(ServedModel.id)))


def change(session: Session, service: Service, wanted: Change) -> None:
    """Another model, more instances, another quota. Accepted requests are not dropped.

    Raises `WrongState` for a service that is being deleted, `InvalidRequest`, `InsufficientResources`.
    """
    _require_not_deleting(service)
    if wanted.model is not None and wanted.model.plugin != service.model.plugin:
        raise InvalidRequest(
            f"service {service.name!r} serves a {service.model.plugin} model; {wanted.model.name!r} is one "
            f"of {wanted.model.plugin}. Deploy it under another name"
        )
    instances = service.instances if wanted.instances is None else wanted.instances
    quota = service.quota if wanted.quota is None else wanted.quota
    _check_resources(instances, quota)
    new_model = wanted.model is not None and wanted.model.id != service.model_id
    if new_model:
        assert wanted.model is not None
        service.model = wanted.model
        session.add(
            ServedModel(service_id=service.id, model_name=wanted.model.name, digest=wanted.model.digest)
        )
    service.instances, service.quota = instances, quota
    if wanted.rate_limit is not None:
        service.rate_limit = wanted.rate_limit
    service.revision = next_revision(session)
    if service.state not in _NOT_ANSWERING:
        changing = ServiceState.UPDATING if new_model else ServiceState.SCALING
        _move(session, service, changing, "change asked for")


def stop(session: Session, service: Service) -> None:
    """Stop its instances; the name, port and tokens stay. Raises `WrongState` when it is stopped already."""
    _require_not_deleting(service)
    if service.desired == "stopped":
        raise WrongState(f"service {service.name!r} is {service.state} already")
    service.desired, service.revision = "stopped", next_revision(session)
    _move(session, service, ServiceState.STOPPING, "stop asked for")


def start(session: Session, service: Service) -> None:
    """Start a stopped or failed service again. Raises `WrongState` when it runs."""
    _require_not_deleting(service)
    if service.desired == "running" and service.state != ServiceState.FAILED.value:
        raise WrongState(f"service {service.name!r} is {service.state} already")
    service.desired, service.revision = "running", next_revision(session)
    _move(session, service, ServiceState.CREATING, "start asked for")


def delete(session: Session, service: Service) -> None:
    """Stop it and forget it once the host has removed it. Raises `WrongState` when that is under way."""
    _require_not_deleting(service)
    service.desired, service.revision = "deleted", next_revision(session)
    _move(session, service, ServiceState.DELETING, "delete asked for")


def _require_not_deleting(service: Service) -> None:
    if service.state == ServiceState.DELETING.value:
        raise WrongState(f"service {service.name!r} is being deleted")


def _move(session: Session, service: Service, new: ServiceState, reason: str) -> None:
    session.flush()
    old = ServiceState(service.state)
    if old is not new and not advance(session, service.id, old, new, reason=reason):
        raise WrongState(f"service {service.name!r} has just changed its state; try again")
    service.message = ""
