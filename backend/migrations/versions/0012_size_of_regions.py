"""The size of the image that text regions are about, so that those of another size are not trained on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_INDEX = "ix_images_other_size"
_OTHER_SIZE = "regions_width != width OR regions_height != height"
# What is there already is taken to be about the image as it is: the file said nothing that was kept.
_TAKEN_AS_IT_IS = """
UPDATE images SET regions_width = width, regions_height = height
WHERE regions IS NOT NULL AND CAST(regions AS TEXT) != '[]'
"""


def upgrade() -> None:
    op.add_column("images", sa.Column("regions_width", sa.Integer(), nullable=True))
    op.add_column("images", sa.Column("regions_height", sa.Integer(), nullable=True))
    op.execute(_TAKEN_AS_IT_IS)
    where = sa.text(_OTHER_SIZE)
    op.create_index(
        _INDEX, "images", ["dataset_id", "key"], unique=False, sqlite_where=where, postgresql_where=where
    )


def downgrade() -> None:
    op.drop_index(_INDEX, table_name="images")
    op.drop_column("images", "regions_height")
    op.drop_column("images", "regions_width")
