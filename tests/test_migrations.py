"""The migrations and the tables say the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from backend import db, tables

assert tables

ROOT = Path(__file__).parent.parent


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


def test_a_database_of_a_newer_release_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    db.migrate(url)
    engine = db.connect(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(db.MigrationFailed, match="a newer release has changed it"):
        db.migrate(url)


def test_an_installed_copy_has_the_migrations(tmp_path: Path) -> None:
    built, database = tmp_path / "built", tmp_path / "x.db"
    _python(
        "from setuptools import setup; setup()", "build_py", "--quiet", "--build-lib", str(built), folder=ROOT
    )
    code = "import sys; from backend import db; db.migrate(sys.argv[1]); print(db.__file__)"
    assert _python(code, f"sqlite:///{database}", folder=built).startswith(str(built))
    engine = db.connect(f"sqlite:///{database}")
    assert set(db.Base.metadata.tables) <= set(sa.inspect(engine).get_table_names())
    engine.dispose()


def test_an_installation_without_migrations_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    monkeypatch.setattr(db, "__file__", str(tmp_path / "db.py"))
    with pytest.raises(db.MigrationFailed, match="install Sightloop again"):
        db.migrate(f"sqlite:///{tmp_path / 'x.db'}")
    assert not (tmp_path / "x.db").exists()


def _python(code: str, *arguments: str, folder: Path) -> str:
    """What a program prints, with the packages of a folder."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


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
