"""Bundles of deleted models leave the store, also when it was away at first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.models import registry, removal
from backend.models.tables import Model, StaleObject
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore
from tests.datasets.conftest import address, store
from tests.services.test_registry import _model

__all__ = ["address", "store"]
BUCKET = "removed-bundles"


@pytest.fixture
def runtime(sessions: SessionFactory, store: ObjectStore, tmp_path: Path) -> Iterator[Runtime]:
    store.ensure_bucket(BUCKET)
    store.delete(BUCKET, [found.key for found in store.list(BUCKET, "")])
    made = Runtime(_settings(sessions, store, tmp_path, store.address.endpoint))
    yield made
    made.sessions.kw["bind"].dispose()


def _settings(sessions: SessionFactory, store: ObjectStore, folder: Path, endpoint: str) -> Settings:
    return Settings(
        data_dir=folder,
        database_url=str(sessions.kw["bind"].url),
        s3_bucket=BUCKET,
        s3_endpoint=endpoint,
        s3_access_key=store.address.access_key,
        s3_secret_key=store.address.secret_key,
    )


def _stored(session: Session, dataset: Dataset, store: ObjectStore, name: str) -> Model:
    model = _model(session, dataset, name)
    session.commit()
    store.put_bytes(BUCKET, registry.bundle_key(model.digest), b"a bundle")
    return model


def _kept(store: ObjectStore) -> list[str]:
    return [found.key for found in store.list(BUCKET, "models/")]


def test_a_deleted_models_bundle_leaves_the_store_and_this_host(
    runtime: Runtime, session: Session, dataset: Dataset, store: ObjectStore
) -> None:
    gone, stays = (_stored(session, dataset, store, name) for name in ("gone", "stays"))
    excerpt = runtime.settings.data_dir / "excerpts" / gone.digest
    excerpt.mkdir(parents=True)
    removal.delete(runtime, dataset.workspace_id, "gone")
    assert _kept(store) == [registry.bundle_key(stays.digest)]
    assert not excerpt.exists()
    with runtime.sessions() as reading:
        assert reading.scalars(select(StaleObject)).all() == []


def test_while_the_store_is_away_the_bundle_is_noted_and_removed_later(
    runtime: Runtime, session: Session, dataset: Dataset, store: ObjectStore, sessions: SessionFactory
) -> None:
    model = _stored(session, dataset, store, "gone")
    away = Runtime(_settings(sessions, store, runtime.settings.data_dir, "http://127.0.0.1:9"))
    removal.delete(away, dataset.workspace_id, "gone")
    away.sessions.kw["bind"].dispose()
    assert _kept(store) == [registry.bundle_key(model.digest)]
    for _ in range(2):  # a sweep that was killed half-way runs again
        removal.sweep(runtime)
        assert _kept(store) == []
    with sessions() as reading:
        assert reading.scalars(select(StaleObject)).all() == []


def test_a_bundle_that_another_model_has_stays(
    runtime: Runtime, session: Session, dataset: Dataset, store: ObjectStore
) -> None:
    first, second = (_stored(session, dataset, store, name) for name in ("first", "second"))
    store.delete(BUCKET, [registry.bundle_key(second.digest)])
    with transaction(runtime.sessions) as writing:
        writing.get_one(Model, second.id).digest = first.digest
    removal.delete(runtime, dataset.workspace_id, "second")
    assert _kept(store) == [registry.bundle_key(first.digest)]
    removal.delete(runtime, dataset.workspace_id, "first")
    assert _kept(store) == []
