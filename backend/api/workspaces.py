"""`/workspaces` and `/tokens`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import Response
from pydantic import Field
from sqlalchemy import select

from backend.accounts import tokens, workspaces
from backend.accounts.roles import Role
from backend.api.schemas import Body, NamePath, NewName, Out, answer, blueprint, listing, no_content
from backend.db import transaction
from backend.views import caller, runtime, workspace_id
from backend.workspaces.tables import Workspace

bp = blueprint("workspaces", __name__, "Workspaces and the API tokens of their members")


class WorkspaceIn(Body):
    """A new workspace."""

    name: NewName


class WorkspaceOut(Out):
    """A workspace."""

    name: str
    created_at: datetime


class WorkspaceMade(WorkspaceOut):
    """A workspace with the token of its first member, shown once."""

    token: str


class WorkspacePage(Out):
    """Workspaces."""

    items: list[WorkspaceOut]
    next: str | None


class TokenIn(Body):
    """A new API token; without `expires_in_days` it is valid until it is revoked, and without `role` it may
    what its maker may.
    """

    name: NewName
    expires_in_days: int | None = Field(None, ge=1, le=3650)
    role: Literal["viewer", "editor", "owner"] | None = None


class TokenOut(Out):
    """An API token, without its text. `state` is `valid` or `expired`; a token without `user` belongs to the
    workspace itself.
    """

    name: str
    state: str
    role: str
    user: str | None
    created_at: datetime
    expires_at: datetime | None


class TokenMade(TokenOut):
    """A new token with its text, shown once."""

    token: str


class TokenPage(Out):
    """API tokens."""

    items: list[TokenOut]
    next: str | None


@bp.get("/workspaces", responses={"200": WorkspacePage}, summary="List workspaces")
def list_workspaces() -> Response:
    """All workspaces for an owner of the first one, else one's own."""
    own = () if caller().operator else (Workspace.id == workspace_id(),)
    with runtime().sessions() as session:
        rows = session.scalars(select(Workspace).where(*own).order_by(Workspace.name)).all()
    return listing([WorkspaceOut.model_validate(row) for row in rows], None)


@bp.post("/workspaces", responses={"201": WorkspaceMade}, summary="Create a workspace")
def create_workspace(body: WorkspaceIn) -> Response:
    """Only owners of the first workspace may; the answer holds the new workspace's first token."""
    with transaction(runtime().sessions) as session:
        row, token = workspaces.create(session, caller(), body.name)
    return answer(WorkspaceMade(name=row.name, created_at=row.created_at, token=token), 201)


@bp.get("/tokens", responses={"200": TokenPage}, summary="List API tokens")
def list_tokens() -> Response:
    """One's own; for owners all of the workspace."""
    with runtime().sessions() as session:
        rows = tokens.visible(session, caller())
    return listing([TokenOut.model_validate(row) for row in rows], None)


@bp.post("/tokens", responses={"201": TokenMade}, summary="Make an API token")
def create_token(body: TokenIn) -> Response:
    """The token's text is in this answer and nowhere else."""
    role = Role(body.role) if body.role else None
    with transaction(runtime().sessions) as session:
        text, row = tokens.create(
            session, caller(), body.name, role=role, expires_in_days=body.expires_in_days
        )
    shown = TokenOut.model_validate(row)
    return answer(TokenMade(**shown.model_dump(), token=text), 201)


@bp.delete("/tokens/<name>", responses={"204": None}, summary="Revoke an API token")
def revoke_token(path: NamePath) -> Response:
    """The token stops working at once."""
    with transaction(runtime().sessions) as session:
        tokens.revoke(session, caller(), path.name)
    return no_content()
