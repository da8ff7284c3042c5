"""Which address of the API the links in Label Studio name; and indexes by which a deleted image is quickly gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_OF_IMAGES = ("labeling_items", "label_queue", "label_suspects")


def upgrade() -> None:
    op.add_column(
        "labeling_projects", sa.Column("address", sa.String(length=500), nullable=False, server_default="")
    )
    for table in _OF_IMAGES:
        op.create_index(f"ix_{table}_image_id", table, ["image_id"])


def downgrade() -> None:
    for table in _OF_IMAGES:
        op.drop_index(f"ix_{table}_image_id", table)
    op.drop_column("labeling_projects", "address")
