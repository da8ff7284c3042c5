"""The migrations and the tables say the same."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from backend import db, tables

assert tables


def test_migrating_twice_does_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    db.migrate(url)
    engine = db.connect(url)
    statement = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    with engine.execution_options(writes=True).begin() as connection:
        connection.execute(sa.text("INSERT INTO workspaces VALUES (1, 'default', '2026-01-01 00:00:00')"))
        before = connection.execute(sa.text(statement)).all()
    db.migrate(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text(statement)).all() == before
        assert connection.scalars(sa.text("SELECT name FROM workspaces")).all() == ["default"]
    engine.dispose()


def test_a_migrated_database_has_exactly_the_tables_of_the_code(migrated: Path) -> None:
    engine = db.connect(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.Base.metadata) == []
    engine.dispose()


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(db.__file__).with_name("migrations")))
    config.set_main_option("sqlalchemy.url", url)
    return config


def test_regions_from_before_their_size_was_kept_are_about_the_image_as_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    config = _config(url)
    command.upgrade(config, "0011")
    engine = sa.create_engine(url)  # without foreign keys: images alone
    with engine.connect() as connection:
        for number, (regions, width) in enumerate((("[{}]", 64), ("[]", 64), (None, 64), ("[{}]", None))):
            connection.execute(
                sa.text(
                    "INSERT INTO images (id, dataset_id, key, etag, size, state, regions, width, height, "
                    "usable, skipped, labelled_by, indexed_at) VALUES "
                    "(:id, 1, :id, '', 1, 'present', :regions, :width, 48, 1, 0, '', '2026-01-01 00:00:00')"
                ),
                {"id": number, "regions": regions, "width": width},
            )
        connection.commit()
    db.migrate(url)
    with engine.connect() as connection:
        found = connection.scalars(sa.text("SELECT regions_width FROM images ORDER BY id")).all()
    assert list(found) == [64, None, None, None]
    command.downgrade(config, "0011")
    engine.dispose()


def test_tokens_from_before_there_were_roles_keep_their_rights(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    config = _config(url)
    command.upgrade(config, "0008")
    engine = db.connect(url)
    with engine.connect() as connection:
        connection.execute(sa.text("INSERT INTO workspaces VALUES (1, 'default', '2026-01-01 00:00:00')"))
        for number, role in enumerate(("admin", "host")):
            connection.execute(
                sa.text(
                    "INSERT INTO api_tokens (workspace_id, name, role, sha256, created_at) "
                    f"VALUES (1, '{role}', '{role}', '{number}', '2026-01-01 00:00:00')"
                )
            )
        connection.commit()
    db.migrate(url)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT name, role, user_id FROM api_tokens ORDER BY id")).all()
    assert [tuple(row) for row in found] == [("admin", "owner", None), ("host", "host", None)]
    command.downgrade(config, "0008")
    with engine.connect() as connection:
        roles = connection.scalars(sa.text("SELECT role FROM api_tokens ORDER BY id")).all()
    assert list(roles) == ["admin", "host"]
    engine.dispose()
