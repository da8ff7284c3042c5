"""Tables of the labels' history, of what to label next and of labels that are probably wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base, KeyText, now


class LabelChange(Base):
    """One change of an image's label: who, when, from which source, what it was before and what it is now.

    `before` and `after` are JSON of `plugins.regions.label_to_json` with a `skipped` flag; null is no label.
    `file` is the key of the label file in the bucket that said it; with `file_removed` it said what was
    before, and says it no more.
    """

    __tablename__ = "label_changes"
    __table_args__ = (
        Index("ix_label_changes_dataset_id_id", "dataset_id", "id"),
        Index("ix_label_changes_image_id", "image_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(20))
    author: Mapped[str] = mapped_column(String(200), default="")
    at: Mapped[datetime] = mapped_column(default=now)
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    file: Mapped[str] = mapped_column(KeyText, default="")
    file_removed: Mapped[bool] = mapped_column(default=False)


class QueuedLabel(Base):
    """An unlabelled image's place in the order in which labels pay most; `position` counts from 0.

    `reason` is `uncertain`, `different`, `typical` or `random`; `score` is the algorithm's own measure.
    """

    __tablename__ = "label_queue"
    __table_args__ = (
        UniqueConstraint("dataset_id", "image_id"),
        Index("ix_label_queue_dataset_id_position", "dataset_id", "position"),
        Index("ix_label_queue_image_id", "image_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    position: Mapped[int]
    score: Mapped[float]
    reason: Mapped[str] = mapped_column(String(20))


class LabelSuspect(Base):
    """A label that the model confidently contradicts. `given` and `suggested` are class names or texts;
    `region` is the id of the region that it is about, empty for a whole image; `confidence` is in 0..1.
    """

    __tablename__ = "label_suspects"
    __table_args__ = (
        Index("ix_label_suspects_dataset_id_confidence", "dataset_id", "confidence"),
        Index("ix_label_suspects_image_id", "image_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    region: Mapped[str] = mapped_column(String(100), default="")
    given: Mapped[str] = mapped_column(String(1000))
    suggested: Mapped[str] = mapped_column(String(1000))
    confidence: Mapped[float]
    found_by: Mapped[str] = mapped_column(String(100), default="")
    found_at: Mapped[datetime] = mapped_column(default=now)
