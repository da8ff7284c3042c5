"""What a process needs to work: settings, database, queue, sealer and stores, built once and passed on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from backend import db
from backend.addresses import is_same_server
from backend.sealing import Sealer
from backend.settings import Settings
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.tables import StorageConnection


@dataclass(frozen=True)
class Runtime:
    """One a process. Everything is made on first use, so a process that forks makes its own connections."""

    settings: Settings

    @cached_property
    def sessions(self) -> db.SessionFactory:
        """The factory of database sessions."""
        return db.sessions(db.connect(self.settings.database))

    @cached_property
    def sealer(self) -> Sealer:
        """Seals and opens stored credentials."""
        return Sealer(self.settings.secret_key)

    @cached_property
    def redis(self) -> Redis:
        """The queue's server; connections are made when used."""
        return Redis.from_url(
            self.settings.redis_url,
            socket_connect_timeout=3,
            health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 4),
        )

    @cached_property
    def artifacts(self) -> ObjectStore:
        """The store of Sightloop's own objects: model bundles and snapshots (bucket `settings.s3_bucket`)."""
        settings = self.settings
        return ObjectStore(
            StoreAddress(
                endpoint=settings.s3_endpoint,
                access_key=settings.s3_access_key,
                secret_key=settings.s3_secret_key,
                region=settings.s3_region,
            )
        )

    def leave_to_parent(self) -> None:
        """In a forked process: its parent goes on using its connections to the database and the store, so
        this one makes its own.
        """
        self.sessions.kw["bind"].dispose(close=False)
        self.__dict__.pop("artifacts", None)

    def store(self, connection: StorageConnection, *, read_timeout: float = 30.0) -> ObjectStore:
        """The store behind a storage connection; `read_timeout` in seconds, for each of its three tries.

        Where it is the store of `artifacts`, the bucket with them is closed to it: images come and go through
        a connection, and who may upload images must not be able to replace models.
        """
        is_own = is_same_server(connection.endpoint, self.settings.s3_endpoint)
        secret = self.sealer.open(connection.secret_encrypted) if connection.secret_encrypted else ""
        return ObjectStore(
            StoreAddress(
                endpoint=connection.endpoint,
                access_key=connection.access_key,
                secret_key=secret,
                region=connection.region,
                addressing=connection.addressing,
                public_endpoint=connection.public_endpoint,
                reserved=self.settings.s3_bucket if is_own else "",
            ),
            read_timeout=read_timeout,
        )
