"""Tables of datasets, their images and findings, and of the operations (sync, check, ...) on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint, func, text, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.db import Base, KeyText, now
from backend.workspaces.tables import StorageConnection


def _where(condition: str, of_postgresql: str = "") -> dict[str, Any]:
    """An index of the rows that fulfil a condition, which a query must say in the same words."""
    return {"sqlite_where": text(condition), "postgresql_where": text(of_postgresql or condition)}


class Dataset(Base):
    """A named bucket prefix of one type. `prefix` is empty or ends with a slash."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    connection_id: Mapped[int] = mapped_column(ForeignKey("storage_connections.id"))
    name: Mapped[str] = mapped_column(String(30))
    type: Mapped[str] = mapped_column(String(30))
    description: Mapped[str] = mapped_column(String(1000), default="")
    bucket: Mapped[str] = mapped_column(String(63))
    prefix: Mapped[str] = mapped_column(String(1000))
    created_at: Mapped[datetime] = mapped_column(default=now)
    synced_at: Mapped[datetime | None]
    checked_at: Mapped[datetime | None]

    connection: Mapped[StorageConnection] = relationship(lazy="joined")


class Image(Base):
    """One indexed object. The label stands beside it: a class name (`label`) or text regions (`regions`, see
    `plugins.regions`; an empty list is an image without text), where it came from, who said it and when;
    `label_file` is the key of the label file in the bucket that says it, if one does. The label is changed by
    `labels.store` and by sync only. `skipped` images were skipped by a person who labels: they
    stay out of training. `regions_width` and `regions_height` are the pixels of the image that the regions
    are about, null until they are known: a file may speak of another size, and the object may change.

    `state` is `present`, or `deleted` (the object has left the bucket; its label is kept as a tombstone).
    What `check` found is valid for `checked_etag`; when the object changes, the etags differ and it is read
    again. `usable` says that no finding keeps the image out of training; `perceptual_hash` is 64 hex digits
    (see `datasets.similar`).
    """

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("dataset_id", "key"),
        # The numbers of a dataset are read from this index alone, and the images of a class in their order.
        # The others hold few images, which are then found at once (see `registry.CONDITIONS`).
        Index("ix_images_counts", "dataset_id", "state", "label", "key", "usable"),
        Index(
            "ix_images_unchecked",
            "dataset_id",
            "state",
            "key",
            **_where("checked_etag IS NULL OR checked_etag != etag"),
        ),
        Index("ix_images_regions", "dataset_id", "state", "label", "usable", **_where("regions IS NOT NULL")),
        Index(
            "ix_images_other_size",
            "dataset_id",
            "key",
            **_where("regions_width != width OR regions_height != height"),
        ),
        Index("ix_images_skipped", "dataset_id", "key", **_where("skipped = 1", "skipped")),
        Index("ix_images_deleted", "dataset_id", "key", **_where("state = 'deleted'")),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(KeyText)
    etag: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    state: Mapped[str] = mapped_column(String(10), default="present")
    label: Mapped[str | None] = mapped_column(String(500))
    regions: Mapped[list[dict[str, Any]] | None]
    regions_width: Mapped[int | None]
    regions_height: Mapped[int | None]
    label_source: Mapped[str | None] = mapped_column(String(20))
    label_file: Mapped[str | None] = mapped_column(KeyText)
    labelled_by: Mapped[str] = mapped_column(String(200), default="")
    labelled_at: Mapped[datetime | None]
    skipped: Mapped[bool] = mapped_column(default=False)
    indexed_at: Mapped[datetime] = mapped_column(default=now)
    checked_etag: Mapped[str | None] = mapped_column(String(100))
    usable: Mapped[bool] = mapped_column(default=False)
    width: Mapped[int | None]
    height: Mapped[int | None]
    content_hash: Mapped[str | None] = mapped_column(String(64))
    perceptual_hash: Mapped[str | None] = mapped_column(String(64))

    @property
    def regions_size(self) -> tuple[int, int]:
        """Width and height in whose pixels the regions are written, 0 where they are not known."""
        return self.regions_width or self.width or 0, self.regions_height or self.height or 0


LABELLED = Image.label.is_not(None) | Image.regions.is_not(None)
"""The images of which something is known, if only that there is no text on them."""
OTHER_SIZE = (Image.regions_width != Image.width) | (Image.regions_height != Image.height)
"""The images whose regions are about an image of another size: they stay out of training."""
TRAINABLE = LABELLED & Image.usable & Image.skipped.is_(False) & func.coalesce(~OTHER_SIZE, true())
"""The images that are trained on, by what one image tells."""


class Finding(Base):
    """One thing that `sync` or `check` noticed. `severity` is `error` (keeps its image out of training),
    `warning` or `note`. `key` is empty for findings about the whole dataset.
    """

    __tablename__ = "findings"
    __table_args__ = (
        Index("ix_findings_dataset_id_source", "dataset_id", "source"),
        Index("ix_findings_dataset_id_code_key", "dataset_id", "code", "key"),
        Index("ix_findings_dataset_id_key", "dataset_id", "key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(10))
    code: Mapped[str] = mapped_column(String(40))
    severity: Mapped[str] = mapped_column(String(10))
    key: Mapped[str] = mapped_column(KeyText, default="")
    message: Mapped[str] = mapped_column(Text)
    advice: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Operation(Base):
    """One run of long work on a dataset, of a `kind` such as sync. `state` is queued, running, succeeded or
    failed; `stop_requested` asks a run that can be stopped to end with what it has done.

    `cursor` is the last key that is done, so that a run that lost its worker goes on from there; `seen`
    says which images a sync has met up to it (see `datasets.seen`).
    """

    __tablename__ = "operations"

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int | None]
    cursor: Mapped[str] = mapped_column(KeyText, default="")
    seen: Mapped[bytes | None]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    stop_requested: Mapped[bool] = mapped_column(default=False)
    error_code: Mapped[str] = mapped_column(String(40), default="")
    error: Mapped[str] = mapped_column(Text, default="")
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    dataset: Mapped[Dataset] = relationship()
