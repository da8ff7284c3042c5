"""Fixtures that many tests share: a migrated database, a Valkey, and rows to begin with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session

from backend import db
from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory
from backend.sealing import Sealer, new_key
from backend.workspaces.tables import StorageConnection, Workspace
from tests.valkey import running_valkey

# Tests run on SQLite, or on the PostgreSQL server whose URL stands here, as a user who may make databases.
POSTGRESQL = os.environ.get("TEST_POSTGRESQL", "")
# Of SIGHTLOOP_*, what says where the test machine has something, and nothing about a stack.
_KEPT = {"SIGHTLOOP_BENCH_DATA", "SIGHTLOOP_LABEL_STUDIO_BIN"}

# A busy machine makes an example slow, not wrong; and a run finds what the run before it found.
hypothesis_settings.register_profile(
    "suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home folder and an environment without a stack: whoever names no data directory finds no real one.

    Caches of other programs stay where they are, and nothing asks a proxy for this machine.
    """
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"))
        patch.setenv("HOME", str(folder))
        for name in os.environ.keys() - _KEPT:
            if name.startswith("SIGHTLOOP_"):
                patch.delenv(name)
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, ",".join(filter(None, (os.environ.get(name), "127.0.0.1,localhost"))))
        yield folder


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database at the newest schema, made once by the real migrations."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    db.migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A fresh database: in a file, as in the product, or on the PostgreSQL server that is named."""
    if POSTGRESQL:
        with _copied(request.getfixturevalue("template")) as url:
            yield url
        return
    path = tmp_path / "sightloop.db"
    shutil.copy(request.getfixturevalue("migrated"), path)
    yield f"sqlite:///{path}"


@pytest.fixture
def sessions(database_url: str) -> Iterator[SessionFactory]:
    """Sessions of a fresh database."""
    engine = db.connect(database_url)
    yield db.sessions(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def template() -> Iterator[str]:
    """The name of an empty database at the newest schema on the PostgreSQL server."""
    name = f"sightloop_{uuid4().hex[:12]}"
    _ask(f"CREATE DATABASE {name}")
    db.migrate(_url(name))
    yield name
    _ask(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _copied(template: str) -> Iterator[str]:
    name = f"{template}_{uuid4().hex[:12]}"
    _ask(f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield _url(name)
    finally:
        _ask(f"DROP DATABASE {name} WITH (FORCE)")


def _url(name: str) -> str:
    return make_url(POSTGRESQL).set(database=name).render_as_string(hide_password=False)


def _ask(statement: str) -> None:
    engine = create_engine(POSTGRESQL, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
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
