"""Users and the members of workspaces: who is in, with which role, and how passwords change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from backend.accounts import passwords
from backend.accounts.roles import MEMBERS, Role
from backend.accounts.tables import Membership, User
from backend.db import now
from backend.errors import Forbidden, InvalidRequest, NameTaken, NotFound, WrongState
from backend.workspaces.tables import DEFAULT_WORKSPACE, ApiToken, Workspace

ADMINISTRATOR = "admin"
ONE_TIME_DAYS = 7
_NAME = re.compile(r"[a-z0-9][a-z0-9._+@-]{0,99}")


@dataclass(frozen=True)
class Invited:
    """A member; `password` is the one-time password, None for a new member who had an account already."""

    membership: Membership
    password: str | None


def first_administrator(session: Session) -> str | None:
    """Make the user `admin`, owner of the first workspace, and answer with the password; None when there are
    users already.
    """
    if session.scalar(select(User.id).limit(1)) is not None:
        return None
    workspace = session.scalar(select(Workspace).where(Workspace.name == DEFAULT_WORKSPACE))
    if workspace is None:
        workspace = Workspace(name=DEFAULT_WORKSPACE)
        session.add(workspace)
    password = passwords.random()
    user = User(name=ADMINISTRATOR, password_hash=passwords.hashed(password))
    session.add(user)
    session.flush()
    session.add(Membership(workspace_id=workspace.id, user=user, role=Role.OWNER))
    return password


def named(session: Session, name: str) -> User | None:
    """The user of that name, in whichever letters it was typed."""
    name = name.strip().lower()
    return session.scalar(select(User).where(User.name == name)) if _NAME.fullmatch(name) else None


def members(session: Session, workspace_id: int, *, after: str = "", limit: int = 1000) -> list[Membership]:
    """One page of the members, by name."""
    statement = (
        select(Membership)
        .join(User)
        .where(Membership.workspace_id == workspace_id, User.name > after)
        .order_by(User.name)
        .limit(limit)
    )
    return list(session.scalars(statement))


def member(session: Session, workspace_id: int, name: str) -> Membership:
    """The membership of that user. Raises `NotFound`."""
    statement = select(Membership).join(User)
    found = session.scalar(
        statement.where(Membership.workspace_id == workspace_id, User.name == name.strip().lower())
    )
    if found is None:
        raise NotFound(f"there is no member {name!r} in this workspace; `sightloop users list` shows all")
    return found


def workspaces_of(session: Session, user_id: int) -> list[Workspace]:
    """The workspaces that a user belongs to, by name."""
    statement = select(Workspace).join(Membership).where(Membership.user_id == user_id)
    return list(session.scalars(statement.order_by(Workspace.name)))


def add(session: Session, workspace_id: int, name: str, role: str, *, operator: bool) -> Invited:
    """Make somebody a member; who has no account gets one. Who has one keeps its password if it belongs to a
    member of the first workspace. Any other account was made by owners of other workspaces, who may know
    its password and would get in: only an operator adds it, and it gets a new one-time password.

    Raises `InvalidRequest`, `NameTaken`, `Forbidden`.
    """
    chosen, name = _role(role), name.strip().lower()
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "a user's name is an e-mail address, or 1 to 100 letters, digits, . _ + @ and -, "
            "and begins with a letter or digit"
        )
    user, password = named(session, name), None
    if user is None:
        password = passwords.random()
        user = User(name=name)
        _set_one_time(user, password)
        session.add(user)
    elif _membership(session, workspace_id, user) is not None:
        raise NameTaken(f"{name} is a member of this workspace already")
    elif DEFAULT_WORKSPACE not in {one.name for one in workspaces_of(session, user.id)}:
        if not operator:
            raise Forbidden(
                f"{name} has an account that only other workspaces know: somebody who owns this workspace "
                f"and {DEFAULT_WORKSPACE!r} may add it, or an owner of {DEFAULT_WORKSPACE!r} adds it there"
            )
        password = passwords.random()
        _set_one_time(user, password)
    made = Membership(workspace_id=workspace_id, user=user, role=chosen)
    session.add(made)
    session.flush()
    return Invited(made, password)


def owns_first_workspace(session: Session, user_id: int | None) -> bool:
    """Whether a user does, in whichever workspace it works at the moment."""
    owns = (
        select(Membership.id)
        .join(Workspace)
        .where(
            Workspace.name == DEFAULT_WORKSPACE, Membership.user_id == user_id, Membership.role == Role.OWNER
        )
    )
    return user_id is not None and session.scalar(owns) is not None


def change_role(session: Session, workspace_id: int, name: str, role: str) -> Membership:
    """Raises `InvalidRequest`, `NotFound`, and `WrongState` for the last owner."""
    chosen, found = _role(role), member(session, workspace_id, name)
    if chosen is not Role.OWNER:
        _keep_an_owner(session, found)
    found.role = chosen
    return found


def remove(session: Session, workspace_id: int, name: str) -> None:
    """End a membership with the tokens that belong to it, and an account that was a member nowhere else.

    Raises `NotFound`, and `WrongState` for the last owner.
    """
    found = member(session, workspace_id, name)
    _keep_an_owner(session, found)
    user = found.user
    own = (ApiToken.user_id == user.id, ApiToken.workspace_id == workspace_id)
    session.execute(delete(ApiToken).where(*own))
    session.delete(found)
    session.flush()
    if not workspaces_of(session, user.id):
        session.delete(user)


def reset_password(session: Session, workspace_id: int, name: str, *, operator: bool) -> Invited:
    """A new one-time password; the user's sessions end. Raises `NotFound`, and `Forbidden` for a user of
    several workspaces unless an operator asks: the owner of one must not get into the others.
    """
    found = member(session, workspace_id, name)
    user = found.user
    if not operator and len(workspaces_of(session, user.id)) > 1:
        raise Forbidden(
            f"{user.name} is a member of other workspaces, too: ask an owner of the workspace "
            f"{DEFAULT_WORKSPACE!r} to reset the password"
        )
    password = passwords.random()
    _set_one_time(user, password)
    return Invited(found, password)


def change_password(user: User, new: str) -> None:
    """Sessions that were opened with the former one end. Raises `InvalidRequest`."""
    passwords.check(new, user.name)
    user.password_hash, user.one_time_until = passwords.hashed(new), None


def _set_one_time(user: User, password: str) -> None:
    user.password_hash = passwords.hashed(password)
    user.one_time_until = now() + timedelta(days=ONE_TIME_DAYS)


def _role(role: str) -> Role:
    if role not in MEMBERS:
        raise InvalidRequest(f"{role!r} is no role: choose {', '.join(MEMBERS)}")
    return Role(role)


def _membership(session: Session, workspace_id: int, user: User) -> Membership | None:
    statement = select(Membership).where(Membership.workspace_id == workspace_id)
    return session.scalar(statement.where(Membership.user_id == user.id))


def _keep_an_owner(session: Session, leaving: Membership) -> None:
    """The workspace's row is locked first: two owners cannot remove each other at the same moment."""
    session.get_one(Workspace, leaving.workspace_id, with_for_update=True)
    owners = select(func.count()).select_from(Membership)
    owners = owners.where(Membership.workspace_id == leaving.workspace_id, Membership.role == Role.OWNER)
    if leaving.role == Role.OWNER and session.scalar(owners) == 1:
        raise WrongState(f"{leaving.name} is the last owner of the workspace; make somebody else owner first")
