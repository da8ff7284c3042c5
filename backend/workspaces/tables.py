"""Tables of workspaces, storage connections and API tokens."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base, now

DEFAULT_WORKSPACE = "default"
DEFAULT_CONNECTION = "default"


class Workspace(Base):
    """The tenant; every other row belongs to one."""

    __tablename__ = "workspaces"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(30), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class StorageConnection(Base):
    """Endpoint and credentials of an S3-compatible store. `addressing` is `path`, `virtual` or `auto`."""

    __tablename__ = "storage_connections"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    name: Mapped[str] = mapped_column(String(30))
    endpoint: Mapped[str] = mapped_column(String(500))
    public_endpoint: Mapped[str] = mapped_column(String(500), default="")
    region: Mapped[str] = mapped_column(String(60), default="us-east-1")
    access_key: Mapped[str] = mapped_column(String(200), default="")
    secret_encrypted: Mapped[str] = mapped_column(String(1000), default="")
    addressing: Mapped[str] = mapped_column(String(10), default="auto")
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def state(self) -> str:
        """Always `ready`: a connection is tested before it is saved."""
        return "ready"


class ApiToken(Base):
    """A bearer token of the REST API, of a user or (without one) of the workspace itself. `role` is `viewer`,
    `editor`, `owner` or `host`; a user's token never does more than the user may.
    """

    __tablename__ = "api_tokens"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(String(30))
    role: Mapped[str] = mapped_column(String(10), default="owner")
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]

    @property
    def state(self) -> str:
        """`valid` or `expired`; a revoked token has no row."""
        return "expired" if self.expires_at is not None and self.expires_at < now() else "valid"
