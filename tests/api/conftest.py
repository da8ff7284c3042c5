"""The API in this process, over a fresh database and a real Valkey; its object store does not answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from werkzeug.test import TestResponse

from backend.app import create_app
from backend.db import SessionFactory
from backend.runtime import Runtime
from backend.sealing import new_key
from backend.settings import Settings

ADMIN, HOST = "admin-token-of-the-tests", "host-token-of-the-tests"


@dataclass(frozen=True)
class Caller:
    """Somebody with a token."""

    app: Flask
    token: str

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> TestResponse:
        """One request; `path` is what follows `/api/v1`."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        with self.app.test_client() as client:
            return client.open(f"/api/v1{path}", method=method, json=body, headers=headers, **options)


@pytest.fixture
def settings(database_url: str, tmp_path: Path, redis: Redis) -> Settings:
    """Everything fresh; the store's port is one where nobody listens."""
    port = redis.connection_pool.connection_kwargs["port"]
    return Settings(
        data_dir=tmp_path,
        database_url=database_url,
        admin_token=ADMIN,
        host_token=HOST,
        secret_key=new_key(),
        redis_url=f"redis://127.0.0.1:{port}/0",
        s3_endpoint="http://127.0.0.1:9",
        s3_access_key="a",
        s3_secret_key="s",
    )


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    """The app."""
    made = create_app(settings)
    yield made
    runtime: Runtime = made.extensions["sightloop"]
    runtime.sessions.kw["bind"].dispose()
    runtime.redis.close()


@pytest.fixture
def admin(app: Flask) -> Caller:
    """The administrator."""
    return Caller(app, ADMIN)


@pytest.fixture
def stranger(app: Flask, admin: Caller) -> Caller:
    """A member of another workspace."""
    made = admin("POST", "/workspaces", {"name": "elsewhere"})
    return Caller(app, made.get_json()["token"])


@pytest.fixture
def host(app: Flask) -> Caller:
    """A model host."""
    return Caller(app, HOST)


@pytest.fixture
def api_sessions(app: Flask) -> SessionFactory:
    """The database behind the app."""
    runtime: Runtime = app.extensions["sightloop"]
    return runtime.sessions
