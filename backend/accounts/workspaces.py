"""Making workspaces, which only those who run the install may do."""

from __future__ import annotations

from sqlalchemy.orm import Session

from backend.accounts.callers import Caller
from backend.errors import Forbidden
from backend.workspaces import registry
from backend.workspaces.tables import Workspace


def create(session: Session, caller: Caller, name: str) -> tuple[Workspace, str]:
    """A new workspace of the caller and its first token, which is shown once. Raises `Forbidden` for who is
    no owner of the first workspace, and what `registry.create_workspace` raises.
    """
    if not caller.operator:
        raise Forbidden("only owners of the first workspace make others")
    return registry.create_workspace(session, name, caller.user_id)
