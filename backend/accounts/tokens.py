"""API tokens as their holders see them: everybody's own, and for owners all of the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from backend.accounts.callers import Caller
from backend.accounts.roles import Role, may
from backend.accounts.tables import User
from backend.errors import Forbidden, NotFound, WrongState
from backend.workspaces import registry
from backend.workspaces.tables import ApiToken


@dataclass(frozen=True)
class Shown:
    """A token without its text. `user` is None for a token of the workspace itself."""

    name: str
    state: str
    role: str
    user: str | None
    created_at: datetime
    expires_at: datetime | None


def visible(session: Session, caller: Caller) -> list[Shown]:
    """Those that the caller may revoke, by name."""
    rows = session.execute(_visible(caller).order_by(ApiToken.name)).all()
    return [_shown(row, user) for row, user in rows]


def create(
    session: Session, caller: Caller, name: str, *, role: Role | None, expires_in_days: int | None
) -> tuple[str, Shown]:
    """A new token of the caller and its text, which is shown once. Raises `Forbidden` for a role above the
    caller's, `NameTaken`.
    """
    chosen = role or caller.role
    if not may(caller.role, chosen):
        raise Forbidden(f"a token cannot have the role {chosen.value}: yours is {caller.role.value}")
    text, row = registry.create_token(
        session,
        caller.workspace_id,
        name,
        expires_in_days=expires_in_days,
        role=chosen,
        user_id=caller.user_id,
    )
    return text, _shown(row, caller.name if caller.user_id else None)


def revoke(session: Session, caller: Caller, name: str) -> None:
    """Forget a token. Raises `NotFound`, and `WrongState` for the token that asks."""
    found = session.execute(_visible(caller).where(ApiToken.name == name)).one_or_none()
    if found is None:
        raise NotFound(f"there is no token {name!r}")
    if found[0].id == caller.token_id:
        raise WrongState("this is the token you are using; revoke it with another one")
    session.delete(found[0])


def _visible(caller: Caller) -> Select[ApiToken, str]:
    of_members = (ApiToken.workspace_id == caller.workspace_id, ApiToken.role != Role.HOST)
    statement = select(ApiToken, User.name).outerjoin(User, User.id == ApiToken.user_id).where(*of_members)
    if caller.role is Role.OWNER:
        return statement
    own = ApiToken.id == caller.token_id if caller.user_id is None else ApiToken.user_id == caller.user_id
    return statement.where(own)


def _shown(row: ApiToken, user: str | None) -> Shown:
    return Shown(row.name, row.state, row.role, user, row.created_at, row.expires_at)
