"""The table of trials."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base, now


class Trial(Base):
    """A link that lets whoever has it test one model until it expires or is revoked. With `collects` they may
    send pictures back to the model's dataset; `returned` counts these.
    """

    __tablename__ = "trials"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id", ondelete="CASCADE"), index=True)
    collects: Mapped[bool] = mapped_column(default=False)
    returned: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
