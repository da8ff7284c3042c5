"""The side that hosts see: what should run, and what they report of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.db import SessionFactory
from backend.errors import NotFound
from backend.models.tables import Model
from backend.sealing import Sealer
from backend.services import asking, registry, tokens
from backend.services.lifecycle import TRANSITIONS, ServiceState, advance
from backend.services.tables import Service
from backend.settings import Settings

_POLL_SECONDS = 0.1

# What a host's report means for the state of a service.
_REPORTED = {
    "starting": ServiceState.WAITING,
    "ready": ServiceState.RUNNING,
    "failed": ServiceState.FAILED,
    "stopped": ServiceState.STOPPED,
}


@dataclass(frozen=True)
class Report:
    """What a host says of one service. `revision` is the one it has acted on."""

    revision: int
    state: str
    ready_instances: int
    port: int | None
    endpoint: str | None
    message: str


def wait_for_change(sessions: SessionFactory, seen: int, seconds: float) -> int:
    """Wait until the revision differs from `seen`, or the time is over; answers the revision."""
    until = time.monotonic() + seconds
    while True:
        with sessions() as session:
            newest = registry.revision(session)
        if newest != seen or time.monotonic() >= until:
            return newest
        time.sleep(_POLL_SECONDS)


def assignments(session: Session, sealer: Sealer, settings: Settings) -> dict[str, Any]:
    """Everything that hosts should run, stop or remove."""
    newest = registry.revision(session)
    services = session.scalars(select(Service).order_by(Service.id)).all()
    return {
        "revision": newest,
        "services": [_assignment(session, sealer, settings, service) for service in services],
    }


def _assignment(session: Session, sealer: Sealer, settings: Settings, service: Service) -> dict[str, Any]:
    own = asking.hashes(asking.own_token(settings, service.id))
    return {
        "id": service.id,
        "name": service.name,
        "model": service.model.name,
        "digest": service.model.digest,
        "instances": service.instances,
        "quota": service.quota,
        "rate_limit": service.rate_limit,
        "port": service.port,
        "desired": service.desired,
        "revision": service.revision,
        "tokens": [
            {"id": asking.OWN_TOKEN, **own},
            *(
                {"id": row.id, "sha256": row.sha256, "signing_key": sealer.open(row.signing_key_encrypted)}
                for row in tokens.of(session, service)
            ),
        ],
    }


def take_report(session: Session, service_id: int, report: Report) -> None:
    """Bring the state in line with a report; one about an older revision changes only what stays true.

    Raises `NotFound` for a service that is gone (the host removes it).
    """
    service = session.get(Service, service_id)
    if service is None:
        raise NotFound(f"there is no service with the id {service_id}")
    if report.port is not None and report.endpoint is not None:  # both are kept while it is stopped
        service.port, service.endpoint = report.port, report.endpoint
    service.ready_instances = report.ready_instances
    if report.revision != service.revision:
        return
    if report.state == "deleted":
        if service.desired == "deleted":
            session.delete(service)
        return
    service.message = report.message
    session.flush()
    old, new = ServiceState(service.state), _REPORTED[report.state]
    if new is ServiceState.WAITING and old in (ServiceState.UPDATING, ServiceState.SCALING):
        return  # the new instances start while the old ones answer
    if new is not old and new in TRANSITIONS[old]:
        advance(session, service.id, old, new, reason=report.message or f"the host reports {report.state}")


def model_of_digest(session: Session, digest: str) -> Model:
    """Any model with that bundle. Raises `NotFound`."""
    model = session.scalar(select(Model).where(Model.digest == digest).limit(1))
    if model is None:
        raise NotFound(f"there is no model with the bundle {digest[:12]}")
    return model
