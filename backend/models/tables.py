"""The tables of models and of what deleted ones have left behind."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base, now
from backend.models import measures, precision


class Model(Base):
    """A trained model: an immutable bundle in the object store, named by the digest of its manifest.

    `metrics`, `labels` and `facts` are copied from the manifest, so that lists need not open the bundle.
    `worse_than` names the model before it when this one measured worse, with the reason in `note`.
    """

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    task_id: Mapped[int] = mapped_column(ForeignKey("training_tasks.id"))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    name: Mapped[str] = mapped_column(String(30))
    plugin: Mapped[str] = mapped_column(String(60))
    algorithm: Mapped[str] = mapped_column(String(60))
    digest: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int]
    labels: Mapped[list[str]]
    metrics: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any]]
    snapshot: Mapped[str] = mapped_column(String(64))
    worse_than: Mapped[str] = mapped_column(String(30), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def parent(self) -> str:
        """The name of the model that training went on from; empty when it started from pretrained weights."""
        return str(self.facts.get("parent", ""))

    @property
    def headline(self) -> str:
        """The metric that ranks models of its plugin; empty where that is not installed any more."""
        return measures.headline(self.plugin)

    @property
    def served(self) -> str:
        """Whether fp32 or int8 is served and why; empty where nothing else was tried."""
        return precision.in_words(self.facts)


class StaleObject(Base):
    """An object in the bucket of bundles that nothing refers to any more and that is still to be removed."""

    __tablename__ = "stale_objects"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(200), unique=True)
