"""Fixtures that many tests share: a migrated database, a Valkey, and rows to begin with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy.orm import Session

from backend import db
from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory
from backend.sealing import Sealer, new_key
from backend.workspaces.tables import StorageConnection, Workspace
from tests.valkey import running_valkey


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest schema, made once by the real migrations."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    db.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sessions(migrated: Path, tmp_path: Path) -> Iterator[SessionFactory]:
    """Sessions of a fresh database in a file, as in the product."""
    path = tmp_path / "sightloop.db"
    shutil.copy(migrated, path)
    engine = db.connect(f"sqlite:///{path}")
    yield db.sessions(engine)
    engine.dispose()


@pytest.fixture
def session(sessions: SessionFactory) -> Iterator[Session]:
    """One session that may write; the test commits what other sessions must see."""
    engine = sessions.kw["bind"].execution_options(writes=True)
    with sessions(bind=engine) as session:
        yield session


@pytest.fixture(scope="session")
def valkey() -> Iterator[Redis]:
    """A real Valkey on a free port."""
    with running_valkey() as redis:
        yield redis


@pytest.fixture
def redis(valkey: Redis) -> Redis:
    """The same, empty."""
    valkey.flushall()
    return valkey


@pytest.fixture
def sealer() -> Sealer:
    """A sealer with a key of its own."""
    return Sealer(new_key())


@pytest.fixture
def workspace(session: Session) -> Workspace:
    """A workspace."""
    row = Workspace(name="default")
    session.add(row)
    session.flush()
    return row


@pytest.fixture
def dataset(session: Session, workspace: Workspace) -> Dataset:
    """A synced classification dataset with two classes of three images each."""
    connection = StorageConnection(
        workspace_id=workspace.id, name="default", endpoint="http://127.0.0.1:1", access_key="a"
    )
    session.add(connection)
    session.flush()
    row = Dataset(
        workspace_id=workspace.id,
        connection_id=connection.id,
        name="parts",
        type="classification",
        bucket="bucket",
        prefix="parts/",
        synced_at=db.now(),
    )
    session.add(row)
    session.flush()
    for label in ("bolt", "nut"):
        for number in range(3):
            session.add(
                Image(
                    dataset_id=row.id,
                    key=f"parts/{label}/{number}.jpg",
                    etag=f"{label}{number}",
                    size=100,
                    label=label,
                    label_source="folder",
                )
            )
    session.flush()
    return row
