"""Training tasks say which model they start from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Tasks from before started from the pretrained weights.
_COLUMNS = {"start_from": (30, "scratch"), "parent": (30, ""), "parent_digest": (64, "")}


def upgrade() -> None:
    with op.batch_alter_table("training_tasks", schema=None) as batch_op:
        for name, (length, default) in _COLUMNS.items():
            batch_op.add_column(
                sa.Column(name, sa.String(length=length), nullable=False, server_default=default)
            )


def downgrade() -> None:
    with op.batch_alter_table("training_tasks", schema=None) as batch_op:
        for name in reversed(_COLUMNS):
            batch_op.drop_column(name)
