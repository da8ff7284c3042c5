"""Tables of what stands in Label Studio: the project of a dataset, and the item of each image."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.db import Base, now


class LabelingProject(Base):
    """The Label Studio project of a dataset. `config` is the labeling configuration that was last written
    there; `model` names the model whose predictions it shows; `hinted_at` is the last webhook heeded.

    `cursor` is the newest change of an item that was read (Label Studio's own time); `swept_at` says when all
    items were compared last, and `others` how many there were then that we do not know. `view` is the view of
    its data manager that shows what to label next. `changes` is the id of the newest change of a label that
    was considered for sending there. `address` is the API's in the links of its items.
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
    cursor: Mapped[str] = mapped_column(String(40), default="")
    swept_at: Mapped[datetime | None]
    others: Mapped[int] = mapped_column("annotations", default=0)  # the column's name is older than its use
    view: Mapped[int | None]
    changes: Mapped[int] = mapped_column(default=0)
    address: Mapped[str] = mapped_column(String(500), default="")


class LabelingItem(Base):
    """The item of an image in Label Studio. `annotated` is the newest change of an annotation that was taken
    over (Label Studio's own timestamp); `predicted_by` is the model version of the prediction it shows.

    `sent` is the hash of the label that we have written there as an annotation, empty for none, and `sent_at`
    Label Studio's time of that annotation when it did not come with the item: an annotation that is still so
    is ours and nobody's opinion. `position` is the place in the order that the data manager shows, if any.
    """

    __tablename__ = "labeling_items"
    __table_args__ = (
        UniqueConstraint("dataset_id", "image_id"),
        Index("ix_labeling_items_dataset_id_item", "dataset_id", "item"),
        Index("ix_labeling_items_image_id", "image_id"),  # by which the items of a deleted image go
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
    sent: Mapped[str] = mapped_column(String(64), default="")
    sent_at: Mapped[str] = mapped_column(String(40), default="")
    position: Mapped[int | None]
