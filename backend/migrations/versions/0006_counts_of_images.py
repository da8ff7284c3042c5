"""Indexes from which a dataset's numbers are read, and its rare images and findings found."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_STALE = "checked_etag IS NULL OR checked_etag != etag"
# Name -> columns, and what the rows fulfil as SQLite and as PostgreSQL say it.
_IMAGES: dict[str, tuple[list[str], str, str]] = {
    "ix_images_counts": (["dataset_id", "state", "label", "key", "usable"], "", ""),
    "ix_images_unchecked": (["dataset_id", "state", "key"], _STALE, _STALE),
    "ix_images_regions": (
        ["dataset_id", "state", "label", "usable"],
        "regions IS NOT NULL",
        "regions IS NOT NULL",
    ),
    "ix_images_skipped": (["dataset_id", "key"], "skipped = 1", "skipped"),
    "ix_images_deleted": (["dataset_id", "key"], "state = 'deleted'", "state = 'deleted'"),
}
_FINDINGS = {
    "ix_findings_dataset_id_code_key": ["dataset_id", "code", "key"],
    "ix_findings_dataset_id_key": ["dataset_id", "key"],
}


def upgrade() -> None:
    op.drop_index("ix_images_dataset_id_state_label", table_name="images")
    for name, (columns, sqlite, postgresql) in _IMAGES.items():
        where: dict[str, Any] = {}
        if sqlite:
            where = {"sqlite_where": sa.text(sqlite), "postgresql_where": sa.text(postgresql)}
        op.create_index(name, "images", columns, unique=False, **where)
    for name, columns in _FINDINGS.items():
        op.create_index(name, "findings", columns, unique=False)


def downgrade() -> None:
    for name in _FINDINGS:
        op.drop_index(name, table_name="findings")
    for name in _IMAGES:
        op.drop_index(name, table_name="images")
    op.create_index(
        "ix_images_dataset_id_state_label", "images", ["dataset_id", "state", "label"], unique=False
    )
