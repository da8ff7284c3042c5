"""Who asks: found from an API token or from what a browser's session keeps, anew for every request."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from redis import Redis
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.accounts import attempts, passwords, registry
from backend.accounts.roles import Role, lesser
from backend.accounts.tables import Membership, User
from backend.db import SessionFactory, now
from backend.errors import Unauthenticated
from backend.workspaces.registry import token_of
from backend.workspaces.tables import DEFAULT_WORKSPACE, ApiToken, Workspace


@dataclass(frozen=True)
class Caller:
    """Somebody in a workspace. A token of the workspace itself has no user; a session by password no token.

    `one_time`: the password must be changed before anything else.
    """

    workspace_id: int
    workspace: str
    role: Role
    user_id: int | None = None
    name: str = ""
    token_id: int | None = None
    one_time: bool = False

    @property
    def operator(self) -> bool:
        """Whether it is an owner of the first workspace: they run the install."""
        return self.role is Role.OWNER and self.workspace == DEFAULT_WORKSPACE


def runs_the_install(session: Session, caller: Caller) -> bool:
    """Whether somebody is an operator, also while working in another workspace than the first."""
    return caller.operator or registry.owns_first_workspace(session, caller.user_id)


def sign_in(sessions: SessionFactory, redis: Redis, name: str, password: str, address: str) -> User:
    """The user with this name and password. Raises `Unauthenticated` and what counting attempts raises."""
    name = name.strip().lower()[:200]
    attempts.count(redis, name, address)
    with sessions() as session:
        user = registry.named(session, name)
    if not passwords.matches(user.password_hash if user else None, password) or user is None:
        raise Unauthenticated("the name or the password is wrong")
    if user.one_time_until is not None and user.one_time_until < now():
        raise Unauthenticated(
            f"this one-time password is older than {registry.ONE_TIME_DAYS} days; ask an owner of the "
            "workspace for another"
        )
    attempts.forget(redis, name, address)
    return user


def proof_of(kept: str) -> str:
    """What a session holds of the hash of a password or token: it changes with it and tells neither."""
    return hashlib.sha256(kept.encode()).hexdigest()[:32]


def by_password(session: Session, user_id: int, proof: str, workspace_id: int) -> Caller | None:
    """Who signed in with a password, in the chosen workspace or, when that is lost, another of theirs; None
    when the password has changed since, or no workspace is left.
    """
    user = session.get(User, user_id)
    if user is None or not hmac.compare_digest(proof_of(user.password_hash), proof):
        return None
    statement = select(Membership).where(Membership.user_id == user_id)
    chosen = statement.order_by(Membership.workspace_id != workspace_id, Membership.workspace_id)
    found = session.scalar(chosen.limit(1))
    if found is None:
        return None
    one_time = user.one_time_until is not None
    workspace = session.get_one(Workspace, found.workspace_id)
    return Caller(workspace.id, workspace.name, Role(found.role), user_id, user.name, one_time=one_time)


def by_token(session: Session, text: str) -> Caller | None:
    """Who holds this token; None for one that is wrong, expired or revoked."""
    row = token_of(session, text)
    return None if row is None else _holder(session, row)


def by_kept_token(session: Session, token_id: int, proof: str) -> Caller | None:
    """The member who signed in with a token, if it is still valid and unchanged."""
    row = session.get(ApiToken, token_id)
    if row is None or row.role == Role.HOST or row.state != "valid":
        return None
    return _holder(session, row) if hmac.compare_digest(proof_of(row.sha256), proof) else None


def _holder(session: Session, row: ApiToken) -> Caller | None:
    """A user's token may what it was made for, and never more than its user."""
    workspace = session.get_one(Workspace, row.workspace_id)
    if row.user_id is None:
        return Caller(workspace.id, workspace.name, Role(row.role), name=row.name, token_id=row.id)
    statement = select(Membership).where(
        Membership.user_id == row.user_id, Membership.workspace_id == row.workspace_id
    )
    found = session.scalar(statement)
    if found is None:
        return None
    role = lesser(Role(row.role), Role(found.role))
    return Caller(workspace.id, workspace.name, role, found.user_id, found.name, row.id)
