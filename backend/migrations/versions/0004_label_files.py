"""Which label file in the bucket says a label, and which changes Label Studio has been told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from backend.db import KeyText

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("images") as batch:
        batch.add_column(sa.Column("label_file", KeyText, nullable=True))
    with op.batch_alter_table("label_changes") as batch:
        batch.add_column(sa.Column("file", KeyText, nullable=False, server_default=""))
        batch.add_column(sa.Column("file_removed", sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table("labeling_projects") as batch:
        batch.add_column(sa.Column("changes", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    for table, names in (
        ("labeling_projects", ("changes",)),
        ("label_changes", ("file_removed", "file")),
        ("images", ("label_file",)),
    ):
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.drop_column(name)
