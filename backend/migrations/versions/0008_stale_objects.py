"""What deleted models leave in the store is noted until it is removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stale_objects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stale_objects")),
        sa.UniqueConstraint("key", name=op.f("uq_stale_objects_key")),
    )


def downgrade() -> None:
    op.drop_table("stale_objects")
