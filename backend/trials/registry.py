"""Making, finding and revoking the links of trials.

A link carries the number of its row and when it expires, signed; the row is asked each time, so a revoked
link opens nothing from that moment on. It opens one model and nothing else of the workspace.
"""

from __future__ import annotations

from datetime import timedelta

from itsdangerous import BadSignature
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.accounts.roles import Role, may
from backend.db import now
from backend.errors import InvalidRequest, LinkExpired, NotFound
from backend.models.tables import Model
from backend.settings import Settings
from backend.signing import serializer
from backend.trials.tables import Trial

PATH = "/try/"
MINUTES = (15, 60, 480, 1440)  # how long a link may hold
_PURPOSE = "trials"
_LONGEST = 200  # characters of a link that are looked at


def create(session: Session, model: Model, *, minutes: int, collects: bool) -> Trial:
    """A new link for a model. Raises `InvalidRequest` for a time that is not one of `MINUTES`."""
    if minutes not in MINUTES:
        raise InvalidRequest(f"a link holds for {', '.join(map(str, MINUTES))} minutes; choose one of these")
    trial = Trial(model_id=model.id, collects=collects, expires_at=now() + timedelta(minutes=minutes))
    session.add(trial)
    session.flush()
    return trial


def active(session: Session, model: Model) -> list[Trial]:
    """The links of a model that open it now, newest first."""
    statement = select(Trial).where(
        Trial.model_id == model.id, Trial.revoked_at.is_(None), Trial.expires_at > now()
    )
    return list(session.scalars(statement.order_by(Trial.id.desc())))


def digests_on_trial(session: Session) -> set[str]:
    """The bundles of all models, of any workspace, that some link opens now."""
    joined = select(Model.digest).join(Trial, Trial.model_id == Model.id)
    return set(session.scalars(joined.where(Trial.revoked_at.is_(None), Trial.expires_at > now())))


def revoke(session: Session, model: Model, trial_id: int) -> None:
    """End a link of this model now. Raises `NotFound`."""
    trial = session.get(Trial, trial_id)
    if trial is None or trial.model_id != model.id:
        raise NotFound(f"model {model.name!r} has no such link")
    trial.revoked_at = trial.revoked_at or now()


def opens_to(role: Role, trial: Trial) -> bool:
    """Whether a member is told where a link leads: through one that collects pictures come back, and to add
    images is for editors.
    """
    return may(role, Role.EDITOR if trial.collects else Role.VIEWER)


def path(settings: Settings, trial: Trial) -> str:
    """The address that a link leads to, without the host."""
    return PATH + str(serializer(settings, _PURPOSE).dumps([trial.id, int(trial.expires_at.timestamp())]))


def open_link(session: Session, settings: Settings, signed: str) -> tuple[Trial, Model]:
    """The trial of a link and its model. Raises `NotFound` for a forged link, `LinkExpired` for one that has
    expired, was revoked, or whose model was deleted.
    """
    try:
        if len(signed) > _LONGEST:
            raise BadSignature("too long")
        trial_id, expires = serializer(settings, _PURPOSE).loads(signed)
    except (BadSignature, ValueError, TypeError):
        raise NotFound("this link is not whole or was changed; scan the QR code again") from None
    trial = session.get(Trial, trial_id)
    # Ids of what was deleted are given again: a link of a deleted model must not open another one.
    if trial is None or int(trial.expires_at.timestamp()) != expires:
        raise LinkExpired("the model of this link was deleted; ask for a link of another one")
    if trial.revoked_at is not None:
        raise LinkExpired("this link was revoked by its owner; ask for a new one")
    if trial.expires_at <= now():
        raise LinkExpired("this link has expired; ask for a new one, or make it on the model's page")
    return trial, session.get_one(Model, trial.model_id)
