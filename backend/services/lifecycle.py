"""The states of a service and the one function that changes them.

What is desired is set by the user; the state follows what the host reports:

    Creating -> Waiting (its instances start) -> Running
    Running -> Updating (another model) or Scaling (instances, quota) -> Running
    Stopping -> Stopped, Deleting -> gone; Failed from anywhere, and back when it recovers.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import CursorResult, update
from sqlalchemy.orm import Session

from backend.db import now
from backend.errors import WrongState
from backend.services.tables import Service, ServiceEvent


class ServiceState(StrEnum):
    """Every state of a service; the names are those of the API that users know."""

    CREATING = "Creating"
    WAITING = "Waiting"
    RUNNING = "Running"
    UPDATING = "Updating"
    SCALING = "Scaling"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    FAILED = "Failed"
    DELETING = "Deleting"


_S = ServiceState
_ALIVE = frozenset({_S.WAITING, _S.RUNNING, _S.UPDATING, _S.SCALING, _S.STOPPING, _S.FAILED, _S.DELETING})

TRANSITIONS: dict[ServiceState, frozenset[ServiceState]] = {
    _S.CREATING: _ALIVE - {_S.UPDATING, _S.SCALING},
    _S.WAITING: _ALIVE - {_S.WAITING},
    _S.RUNNING: _ALIVE - {_S.RUNNING},
    _S.UPDATING: _ALIVE - {_S.UPDATING},
    _S.SCALING: _ALIVE - {_S.SCALING},
    _S.FAILED: (_ALIVE - {_S.FAILED}) | {_S.CREATING},
    _S.STOPPING: frozenset({_S.STOPPED, _S.FAILED, _S.DELETING, _S.CREATING}),
    _S.STOPPED: frozenset({_S.CREATING, _S.DELETING}),
    _S.DELETING: frozenset(),
}


def advance(
    session: Session, service_id: int, old: ServiceState, new: ServiceState, *, reason: str = ""
) -> bool:
    """Change the state from `old` to `new` and write the event; False when somebody else was faster.

    Raises `WrongState` for a transition that does not exist.
    """
    if new not in TRANSITIONS[old]:
        raise WrongState(f"a service does not go from {old} to {new}")
    result = session.execute(
        update(Service)
        .where(Service.id == service_id, Service.state == old.value)
        .values(state=new.value, updated_at=now())
        .execution_options(synchronize_session="fetch")
    )
    assert isinstance(result, CursorResult)
    if result.rowcount != 1:
        return False
    session.add(ServiceEvent(service_id=service_id, old=old.value, new=new.value, reason=reason))
    return True
