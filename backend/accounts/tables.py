"""Tables of users, of their memberships in workspaces, and of sessions that have ended."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.db import Base, now


class User(Base):
    """A person. `one_time_until` is set while the password is one that somebody else has seen: until then it
    opens nothing but the form that changes it, afterwards nothing at all.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), unique=True)
    password_hash: Mapped[str] = mapped_column(String(200))
    one_time_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Membership(Base):
    """That a user belongs to a workspace, with the role `viewer`, `editor` or `owner`."""

    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("workspace_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    role: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)

    @property
    def name(self) -> str:
        """The user's name."""
        return self.user.name

    @property
    def state(self) -> str:
        """`invited` until the user has chosen a password, then `active`."""
        return "active" if self.user.one_time_until is None else "invited"


class EndedSession(Base):
    """A browser's session that was signed out of; forgotten when its cookie is certain to have expired."""

    __tablename__ = "ended_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    until: Mapped[datetime] = mapped_column(index=True)
