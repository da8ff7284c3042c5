"""The migrations and the tables say the same."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from backend import db, tables

assert tables


def test_migrating_twice_does_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    db.migrate(url)
    db.migrate(url)


def test_a_migrated_database_has_exactly_the_tables_of_the_code(migrated: Path) -> None:
    engine = db.connect(f"sqlite:///{migrated}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), db.Base.metadata) == []
    engine.dispose()
