"""`/members`: who belongs to the workspace, and with which role."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import BaseModel, Field

from backend.accounts import registry
from backend.accounts.callers import runs_the_install
from backend.api.schemas import Body, Out, Page, Typed, answer, blueprint, listing, next_cursor, no_content
from backend.db import transaction
from backend.views import caller, runtime, workspace_id

bp = blueprint("members", __name__, "Members of the workspace and their roles; changed by owners")
RoleName = Literal["viewer", "editor", "owner"]


class MemberIn(Body):
    """Who is to become a member: a new user, or one who has an account already."""

    name: Typed = Field(max_length=100, description="an e-mail address, or letters, digits, . _ + @ and -")
    role: RoleName = "editor"


class RoleIn(Body):
    """Another role."""

    role: RoleName


class MemberOut(Out):
    """A member. `state` is `invited` until a password of one's own is chosen, then `active`."""

    name: str
    state: str
    role: str
    created_at: datetime


class MemberMade(MemberOut):
    """A member with the one-time password, which is shown once and valid for 7 days; null for a new member
    who had an account already.
    """

    password: str | None


class MemberPage(Out):
    """Members by name."""

    items: list[MemberOut]
    next: str | None


class UserPath(BaseModel):
    """The user's name in the address."""

    name: str = Field(max_length=100)


@bp.get("/members", responses={"200": MemberPage}, summary="List members")
def list_members(query: Page) -> Response:
    """By name."""
    with runtime().sessions() as session:
        rows = registry.members(session, workspace_id(), after=query.after, limit=query.limit)
    items = [MemberOut.model_validate(row) for row in rows]
    return listing(items, next_cursor(items, query.limit, "name"))


@bp.post("/members", responses={"201": MemberMade}, summary="Add a member")
def add_member(body: MemberIn) -> Response:
    """A new user's one-time password is in this answer and nowhere else."""
    with transaction(runtime().sessions) as session:
        operator = runs_the_install(session, caller())
        made = registry.add(session, workspace_id(), body.name, body.role, operator=operator)
    return answer(_made(made), 201)


@bp.patch("/members/<name>", responses={"200": MemberOut}, summary="Change a member's role")
def change_member(path: UserPath, body: RoleIn) -> Response:
    """Counts from the next request on; the last owner stays owner."""
    with transaction(runtime().sessions) as session:
        row = registry.change_role(session, workspace_id(), path.name, body.role)
    return answer(MemberOut.model_validate(row))


@bp.delete("/members/<name>", responses={"204": None}, summary="Remove a member")
def remove_member(path: UserPath) -> Response:
    """With the tokens that belong to the user here; an account that is a member nowhere else is deleted."""
    with transaction(runtime().sessions) as session:
        registry.remove(session, workspace_id(), path.name)
    return no_content()


@bp.post("/members/<name>/password", responses={"200": MemberMade}, summary="Reset a password")
def reset_password(path: UserPath) -> Response:
    """The user's sessions end. A user of several workspaces is left to the owners of the first one."""
    with transaction(runtime().sessions) as session:
        made = registry.reset_password(session, workspace_id(), path.name, operator=caller().operator)
    return answer(_made(made))


def _made(made: registry.Invited) -> MemberMade:
    shown = MemberOut.model_validate(made.membership)
    return MemberMade(**shown.model_dump(), password=made.password)
