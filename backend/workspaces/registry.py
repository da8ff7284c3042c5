"""Workspaces, storage connections and API tokens as the API sees them, and what the first start makes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.accounts.roles import Role
from backend.accounts.tables import Membership
from backend.datasets.tables import Dataset
from backend.db import now
from backend.errors import InUse, InvalidRequest, NameTaken, NotFound
from backend.names import check_name
from backend.sealing import Sealer
from backend.settings import Settings
from backend.workspaces.tables import (
    DEFAULT_CONNECTION,
    DEFAULT_WORKSPACE,
    ApiToken,
    StorageConnection,
    Workspace,
)

_TOKEN_BYTES = 32
OWN_TOKEN = "admin"  # the name of the token that the command line uses on the stack's own machine


@dataclass(frozen=True)
class ConnectionRequest:
    """What a user says of a store. `addressing` is auto, path or virtual."""

    name: str
    endpoint: str
    access_key: str = ""
    secret_key: str = ""
    region: str = "us-east-1"
    addressing: str = "auto"
    public_endpoint: str = ""


def bootstrap(session: Session, sealer: Sealer, settings: Settings) -> None:
    """Make what a new install starts with: a workspace, the connection to its own store, the tokens of the
    administrator and of the hosts. May run at every start.
    """
    workspace = session.scalar(select(Workspace).where(Workspace.name == DEFAULT_WORKSPACE))
    if workspace is None:
        workspace = Workspace(name=DEFAULT_WORKSPACE)
        session.add(workspace)
        session.flush()
    _keep_token(session, workspace, OWN_TOKEN, Role.OWNER, settings.admin_token)
    _keep_token(session, workspace, "host", Role.HOST, settings.host_token)
    existing = session.scalar(
        select(StorageConnection).where(
            StorageConnection.workspace_id == workspace.id, StorageConnection.name == DEFAULT_CONNECTION
        )
    )
    if existing is None and settings.s3_access_key:
        existing = StorageConnection(workspace_id=workspace.id, name=DEFAULT_CONNECTION)
        session.add(existing)
    if existing is not None and settings.s3_access_key:  # its port may have changed since the last start
        existing.endpoint, existing.region = settings.s3_endpoint, settings.s3_region
        existing.access_key = settings.s3_access_key
        existing.secret_encrypted = sealer.seal(settings.s3_secret_key)


def _keep_token(session: Session, workspace: Workspace, name: str, role: Role, text: str) -> None:
    if not text:
        return
    row = session.scalar(select(ApiToken).where(ApiToken.workspace_id == workspace.id, ApiToken.name == name))
    if row is None:
        session.add(ApiToken(workspace_id=workspace.id, name=name, role=role, sha256=_sha256(text)))
    else:
        row.sha256 = _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def token_of(session: Session, text: str) -> ApiToken | None:
    """The valid token with this text. The lookup is by hash: its timing tells nothing of the text."""
    row = session.scalar(select(ApiToken).where(ApiToken.sha256 == _sha256(text)))
    return row if row is not None and row.state == "valid" else None


def create_workspace(session: Session, name: str, user_id: int | None = None) -> tuple[Workspace, str]:
    """A new workspace and its first token; the user, if there is one, owns both. Raises `NameTaken`."""
    check_name(name, "workspace")
    if session.scalar(select(Workspace).where(Workspace.name == name)) is not None:
        raise NameTaken(f"there is a workspace named {name!r} already")
    workspace = Workspace(name=name)
    session.add(workspace)
    session.flush()
    if user_id is not None:
        session.add(Membership(workspace_id=workspace.id, user_id=user_id, role=Role.OWNER))
    text, _ = create_token(session, workspace.id, "admin", expires_in_days=None, user_id=user_id)
    return workspace, text


def are_several(session: Session) -> bool:
    """Whether there is another workspace beside the first one."""
    return len(session.scalars(select(Workspace.id).limit(2)).all()) > 1


def create_token(
    session: Session,
    workspace_id: int,
    name: str,
    *,
    expires_in_days: int | None,
    role: Role = Role.OWNER,
    user_id: int | None = None,
) -> tuple[str, ApiToken]:
    """A new API token, shown once; without a user it belongs to the workspace itself. Raises `NameTaken`."""
    check_name(name, "token")
    taken = select(ApiToken).where(ApiToken.workspace_id == workspace_id, ApiToken.name == name)
    if session.scalar(taken) is not None:
        raise NameTaken(f"there is a token named {name!r} in this workspace already")
    text = secrets.token_urlsafe(_TOKEN_BYTES)
    expires: datetime | None = None
    if expires_in_days is not None:
        expires = now() + timedelta(days=expires_in_days)
    row = ApiToken(
        workspace_id=workspace_id,
        user_id=user_id,
        name=name,
        role=role,
        sha256=_sha256(text),
        expires_at=expires,
    )
    session.add(row)
    session.flush()
    return text, row


def new_connection(sealer: Sealer, workspace_id: int, request: ConnectionRequest) -> StorageConnection:
    """A connection that is not saved yet, so that it can be tested first. Raises `InvalidRequest`."""
    check_name(request.name, "storage connection")
    for endpoint in filter(None, (request.endpoint, request.public_endpoint)):
        _check_endpoint(endpoint)
    return StorageConnection(
        workspace_id=workspace_id,
        name=request.name,
        endpoint=request.endpoint,
        public_endpoint=request.public_endpoint,
        region=request.region,
        access_key=request.access_key,
        secret_encrypted=sealer.seal(request.secret_key) if request.secret_key else "",
        addressing=request.addressing,
    )


def require_free_connection(session: Session, workspace_id: int, name: str) -> None:
    """Raises `NameTaken`."""
    taken = select(StorageConnection.id).where(
        StorageConnection.workspace_id == workspace_id, StorageConnection.name == name
    )
    if session.scalar(taken) is not None:
        raise NameTaken(f"there is a storage connection named {name!r} already")


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/")
        valid = valid and not parts.username and not parts.query and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise InvalidRequest(
            f"{endpoint!r} is no endpoint: write it like https://s3.example.org or http://127.0.0.1:9000, "
            "without a bucket, a path or credentials"
        )


def connection(session: Session, workspace_id: int, name: str) -> StorageConnection:
    """The storage connection of that name. Raises `NotFound`."""
    row = session.scalar(
        select(StorageConnection).where(
            StorageConnection.workspace_id == workspace_id, StorageConnection.name == name
        )
    )
    if row is None:
        raise NotFound(f"there is no storage connection {name!r}; `sightloop storage list` shows all")
    return row


def connections(session: Session, workspace_id: int) -> list[StorageConnection]:
    """All of the workspace, by name."""
    statement = select(StorageConnection).where(StorageConnection.workspace_id == workspace_id)
    return list(session.scalars(statement.order_by(StorageConnection.name)))


def connection_users(session: Session, rows: Iterable[StorageConnection]) -> dict[int, list[str]]:
    """The names of the datasets that read through each connection, by its id; none for those without."""
    users: dict[int, list[str]] = {}
    statement = select(Dataset.connection_id, Dataset.name).where(
        Dataset.connection_id.in_([row.id for row in rows])
    )
    for connection_id, name in session.execute(statement.order_by(Dataset.name)):
        users.setdefault(connection_id, []).append(name)
    return users


def delete_connection(session: Session, row: StorageConnection) -> None:
    """Forget a connection. Raises `InUse` while datasets read through it."""
    users = connection_users(session, [row]).get(row.id)
    if users:
        raise InUse(f"datasets {', '.join(users)} use storage connection {row.name!r}; delete them first")
    session.delete(row)
