"""`/workspaces` and `/tokens`."""

from __future__ import annotations

from datetime import datetime

from flask import Response, g
from pydantic import Field
from sqlalchemy import select

from backend.api.edge import runtime, workspace_id
from backend.api.schemas import Body, NamePath, NewName, Out, answer, blueprint, listing, no_content
from backend.db import transaction
from backend.errors import Forbidden
from backend.workspaces import registry
from backend.workspaces.tables import DEFAULT_WORKSPACE, ApiToken, Workspace

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
    """A new API token; without `expires_in_days` it is valid until it is revoked."""

    name: NewName
    expires_in_days: int | None = Field(None, ge=1, le=3650)


class TokenOut(Out):
    """An API token, without its text. `state` is `valid` or `expired`."""

    name: str
    state: str
    role: str
    created_at: datetime
    expires_at: datetime | None


class TokenMade(TokenOut):
    """A new token with its text, shown once."""

    token: str


class TokenPage(Out):
    """API tokens."""

    items: list[TokenOut]
    next: str | None


def _is_operator() -> bool:
    """Whether the token belongs to the first workspace, whose members run the install."""
    with runtime().sessions() as session:
        return session.get_one(Workspace, workspace_id()).name == DEFAULT_WORKSPACE


@bp.get("/workspaces", responses={"200": WorkspacePage}, summary="List workspaces")
def list_workspaces() -> Response:
    """All workspaces for a member of the first one, else one's own."""
    own = () if _is_operator() else (Workspace.id == workspace_id(),)
    with runtime().sessions() as session:
        rows = session.scalars(select(Workspace).where(*own).order_by(Workspace.name)).all()
    return listing([WorkspaceOut.model_validate(row) for row in rows], None)


@bp.post("/workspaces", responses={"201": WorkspaceMade}, summary="Create a workspace")
def create_workspace(body: WorkspaceIn) -> Response:
    """Only members of the first workspace may; the answer holds the new workspace's first token."""
    if not _is_operator():
        raise Forbidden("only members of the first workspace make others")
    with transaction(runtime().sessions) as session:
        row, token = registry.create_workspace(session, body.name)
    return answer(WorkspaceMade(name=row.name, created_at=row.created_at, token=token), 201)


@bp.get("/tokens", responses={"200": TokenPage}, summary="List API tokens")
def list_tokens() -> Response:
    """The tokens of this workspace."""
    statement = select(ApiToken).where(ApiToken.workspace_id == workspace_id(), ApiToken.role == "admin")
    with runtime().sessions() as session:
        rows = session.scalars(statement.order_by(ApiToken.name)).all()
    return listing([TokenOut.model_validate(row) for row in rows], None)


@bp.post("/tokens", responses={"201": TokenMade}, summary="Make an API token")
def create_token(body: TokenIn) -> Response:
    """The token's text is in this answer and nowhere else."""
    with transaction(runtime().sessions) as session:
        text, row = registry.create_token(
            session, workspace_id(), body.name, expires_in_days=body.expires_in_days
        )
    shown = TokenOut.model_validate(row)
    return answer(TokenMade(**shown.model_dump(), token=text), 201)


@bp.delete("/tokens/<name>", responses={"204": None}, summary="Revoke an API token")
def revoke_token(path: NamePath) -> Response:
    """The token stops working at once."""
    with transaction(runtime().sessions) as session:
        registry.revoke_token(session, workspace_id(), path.name, own_id=g.token_id)
    return no_content()
