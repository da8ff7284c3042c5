"""Tables of what stands in Label Studio: the project of a dataset, and the item of each image."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base, now


class LabelingProject(Base):
    """The Label Studio project of a dataset. `config` is the labeling configuration that was last written
    there; `model` names the model whose predictions it shows; `hinted_at` is the last webhook.
    """

    __tablename__ = "labeling_projects"
    __table_args__ = (UniqueConstraint("dataset_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    project: Mapped[int]
    config: Mapped[str] = mapped_column(Text, default="")
    webhook: Mapped[int | None]
    webhook_secret_encrypted: Mapped[str] = mapped_column(String(1000), default="")
    ml_backend: Mapped[int | None]
    model: Mapped[str] = mapped_column(String(100), default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    reconciled_at: Mapped[datetime | None]
    hinted_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text, default="")


class LabelingItem(Base):
    """The item of an image in Label Studio. `annotated` is the newest change of an annotation that was taken
    over (Label Studio's own timestamp); `predicted_by` is the model version of the prediction it shows.
    """

    __tablename__ = "labeling_items"
    __table_args__ = (
        UniqueConstraint("dataset_id", "image_id"),
        Index("ix_labeling_items_dataset_id_item", "dataset_id", "item"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    image_id: Mapped[int] = mapped_column(ForeignKey("images.id", ondelete="CASCADE"))
    item: Mapped[int]
    etag: Mapped[str] = mapped_column(String(100), default="")
    archived: Mapped[bool] = mapped_column(default=False)
    annotated: Mapped[str] = mapped_column(String(40), default="")
    predicted_by: Mapped[str] = mapped_column(String(100), default="")
    link_expires_at: Mapped[datetime | None]
