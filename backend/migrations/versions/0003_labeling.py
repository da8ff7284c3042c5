"""Labels with regions and a history, Label Studio projects and items, what to label next."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "labeling_projects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("webhook", sa.Integer(), nullable=True),
        sa.Column("webhook_secret_encrypted", sa.String(length=1000), nullable=False),
        sa.Column("ml_backend", sa.Integer(), nullable=True),
        sa.Column("model", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reconciled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hinted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("cursor", sa.String(length=40), nullable=False),
        sa.Column("swept_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("annotations", sa.Integer(), nullable=False),
        sa.Column("view", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_labeling_projects_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labeling_projects")),
        sa.UniqueConstraint("dataset_id", name=op.f("uq_labeling_projects_dataset_id")),
    )
    op.create_table(
        "label_changes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_label_changes_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_label_changes_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_changes")),
    )
    with op.batch_alter_table("label_changes", schema=None) as batch_op:
        batch_op.create_index("ix_label_changes_dataset_id_id", ["dataset_id", "id"], unique=False)
        batch_op.create_index("ix_label_changes_image_id", ["image_id"], unique=False)

    op.create_table(
        "label_queue",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_label_queue_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_label_queue_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_queue")),
        sa.UniqueConstraint("dataset_id", "image_id", name=op.f("uq_label_queue_dataset_id_image_id")),
    )
    with op.batch_alter_table("label_queue", schema=None) as batch_op:
        batch_op.create_index("ix_label_queue_dataset_id_position", ["dataset_id", "position"], unique=False)

    op.create_table(
        "label_suspects",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("region", sa.String(length=100), nullable=False),
        sa.Column("given", sa.String(length=1000), nullable=False),
        sa.Column("suggested", sa.String(length=1000), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("found_by", sa.String(length=100), nullable=False),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_label_suspects_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_label_suspects_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_suspects")),
    )
    with op.batch_alter_table("label_suspects", schema=None) as batch_op:
        batch_op.create_index(
            "ix_label_suspects_dataset_id_confidence", ["dataset_id", "confidence"], unique=False
        )

    op.create_table(
        "labeling_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dataset_id", sa.Integer(), nullable=False),
        sa.Column("image_id", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("etag", sa.String(length=100), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("annotated", sa.String(length=40), nullable=False),
        sa.Column("predicted_by", sa.String(length=100), nullable=False),
        sa.Column("link_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent", sa.String(length=64), nullable=False),
        sa.Column("sent_at", sa.String(length=40), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_labeling_items_dataset_id_datasets"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_labeling_items_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labeling_items")),
        sa.UniqueConstraint("dataset_id", "image_id", name=op.f("uq_labeling_items_dataset_id_image_id")),
    )
    with op.batch_alter_table("labeling_items", schema=None) as batch_op:
        batch_op.create_index("ix_labeling_items_dataset_id_item", ["dataset_id", "item"], unique=False)

    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.add_column(sa.Column("regions", sa.JSON(), nullable=True))
        batch_op.add_column(
            sa.Column("labelled_by", sa.String(length=200), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("labelled_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("skipped", sa.Boolean(), nullable=False, server_default=sa.false()))

    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("parameters", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(
            sa.Column("stop_requested", sa.Boolean(), nullable=False, server_default=sa.false())
        )


def downgrade() -> None:
    with op.batch_alter_table("operations", schema=None) as batch_op:
        batch_op.drop_column("stop_requested")
        batch_op.drop_column("parameters")

    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.drop_column("skipped")
        batch_op.drop_column("labelled_at")
        batch_op.drop_column("labelled_by")
        batch_op.drop_column("regions")

    with op.batch_alter_table("labeling_items", schema=None) as batch_op:
        batch_op.drop_index("ix_labeling_items_dataset_id_item")

    op.drop_table("labeling_items")
    with op.batch_alter_table("label_suspects", schema=None) as batch_op:
        batch_op.drop_index("ix_label_suspects_dataset_id_confidence")

    op.drop_table("label_suspects")
    with op.batch_alter_table("label_queue", schema=None) as batch_op:
        batch_op.drop_index("ix_label_queue_dataset_id_position")

    op.drop_table("label_queue")
    with op.batch_alter_table("label_changes", schema=None) as batch_op:
        batch_op.drop_index("ix_label_changes_image_id")
        batch_op.drop_index("ix_label_changes_dataset_id_id")

    op.drop_table("label_changes")
    op.drop_table("labeling_projects")
