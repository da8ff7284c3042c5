"""Tables of services: the desired and the reported state, tokens, events, usage, the models served so far."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.db import Base, now
from backend.models.tables import Model


class Service(Base):
    """A deployed model under a name.

    `desired` is running, stopped or deleted; `revision` grows with every change of what is desired, and a
    host's report counts only for the revision it names. `state` is changed by `lifecycle.advance` alone.
    """

    __tablename__ = "services"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    name: Mapped[str] = mapped_column(String(30))
    instances: Mapped[int] = mapped_column(default=1)
    quota: Mapped[int] = mapped_column(default=1)
    rate_limit: Mapped[int] = mapped_column(default=0)
    desired: Mapped[str] = mapped_column(String(10), default="running")
    revision: Mapped[int]
    state: Mapped[str] = mapped_column(String(12), default="Creating")
    message: Mapped[str] = mapped_column(Text, default="")
    ready_instances: Mapped[int] = mapped_column(default=0)
    port: Mapped[int | None]
    endpoint: Mapped[str] = mapped_column(String(500), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)

    model: Mapped[Model] = relationship(lazy="joined")


class ServiceToken(Base):
    """A token of one service: its hash, and the encrypted SHA-1 of it that checks EAS signatures."""

    __tablename__ = "service_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    signing_key_encrypted: Mapped[str] = mapped_column(String(500))
    last4: Mapped[str] = mapped_column(String(4))
    created_at: Mapped[datetime] = mapped_column(default=now)


class ServiceEvent(Base):
    """One change of a service's state, with its reason."""

    __tablename__ = "service_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    old: Mapped[str] = mapped_column(String(12))
    new: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str] = mapped_column(Text, default="")


class ServedModel(Base):
    """The models a service has served, newest last."""

    __tablename__ = "served_models"

    id: Mapped[int] = mapped_column(primary_key=True)
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"), index=True)
    model_name: Mapped[str] = mapped_column(String(30))
    digest: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=now)


class ServiceSample(Base):
    """What the processes of a service had counted at one moment, since they were started: `requests` by
    errorCode (`0` is success), `seconds` that all answers took together, and `buckets`, the answers that took
    at most so many seconds.
    """

    __tablename__ = "service_samples"
    __table_args__ = (Index("ix_service_samples_service_id_at", "service_id", "at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    service_id: Mapped[int] = mapped_column(ForeignKey("services.id", ondelete="CASCADE"))
    at: Mapped[datetime] = mapped_column(default=now)
    requests: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    buckets: Mapped[dict[str, Any]]


class HostRevision(Base):
    """One row: the newest revision of any service, which hosts wait for."""

    __tablename__ = "host_revision"

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)
