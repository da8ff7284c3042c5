"""The database: the declarative base, the engine for SQLite or PostgreSQL, sessions and migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import JSON, Connection, DateTime, Dialect, Engine, MetaData, String, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DataError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from backend.settings import SettingsError

SessionFactory = sessionmaker[Session]

# S3 lists keys in the order of their UTF-8 bytes. The index is read in the same order, so that listing and
# index can be merged as streams; SQLite compares bytes by default, PostgreSQL with this collation.
KeyText = String(1024).with_variant(String(1024, collation="C"), "postgresql")


def now() -> datetime:
    """The present time, aware, in UTC."""
    return datetime.now(UTC)


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC time; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC."""
        if value is None:
            return None
        return value.astimezone(UTC).replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back; PostgreSQL answers in that of the session."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """The base of all tables; constraints are named so that migrations can change them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar = {
        datetime: Timestamp,
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: JSON,
        list[dict[str, Any]]: JSON(none_as_null=True),
    }


def connect(url: str) -> Engine:
    """An engine; SQLite in WAL mode with foreign keys, waiting up to 30 s for another writer. Raises
    `SettingsError` for an address of which the driver is missing or unknown.
    """
    if not url.startswith("sqlite"):
        try:
            return create_engine(url, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise SettingsError(
                f"SIGHTLOOP_DATABASE_URL needs the Python package {error.name}, which is not installed; for "
                "PostgreSQL: pip install 'psycopg[binary]', and an address that begins with postgresql+psycopg://"
            ) from error
        except (ArgumentError, ValueError) as error:  # whose own words may show the password
            raise SettingsError(
                "SIGHTLOOP_DATABASE_URL is no address of a database that SQLAlchemy knows"
            ) from error
    engine = create_engine(url, connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver starts no transactions of its own: _begin does
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "handle_error")
    def _translate(context: ExceptionContext) -> DataError | None:
        # The driver refuses a number of more than 64 bits by itself; to others the database does.
        fault = context.original_exception
        return DataError(context.statement, None, fault) if isinstance(fault, OverflowError) else None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another has written in between;
        # one that takes the write lock first waits its turn.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def sessions(engine: Engine) -> SessionFactory:
    """The factory of sessions; objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def transaction(factory: SessionFactory) -> Iterator[Session]:
    """A session that may write, committed at the end or rolled back on any exception. Keep it short."""
    engine: Engine = factory.kw["bind"]
    with factory(bind=engine.execution_options(writes=True)) as session, session.begin():
        yield session


class MigrationFailed(Exception):
    """The database cannot be brought to this release's schema; the message is a sentence."""


def migrate(url: str) -> None:
    """Bring the database to the newest schema; does nothing when it is there already.

    Raises `MigrationFailed`, and what the database itself refuses as SQLAlchemy's errors.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    if not ScriptDirectory.from_config(config).get_heads():
        raise MigrationFailed("the migrations are missing in this installation; install Sightloop again")
    try:
        command.upgrade(config, "head")
    except CommandError as error:  # it cannot find the revision that the database names
        raise MigrationFailed(
            "a newer release has changed it; update Sightloop, or bring back the backup from before"
        ) from error
