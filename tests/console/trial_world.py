"""A model on trial for tests: a small classifier of colours, or a reader, and a link that opens it."""

from __future__ import annotations

import shutil

from flask import Flask
from sqlalchemy import select, update

from backend.datasets.tables import Dataset
from backend.db import transaction
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.storage import ObjectStore, StoreAddress
from backend.trials import registry
from backend.workspaces.tables import StorageConnection
from plugins.bundle import Bundle
from tests.console.conftest import furnish
from tests.ml_backend import bundles


def put_colours(app: Flask) -> None:
    """The dataset `parts` and its model `parts-v1`, which tells red, green and blue. Its bundle is on this
    host: the object store does not answer.
    """
    furnish(app)
    folder = app.extensions["sightloop"].settings.data_dir / "made"
    keep(app, bundles.classifier(folder, "parts-v1"))


def put_reader(app: Flask) -> None:
    """The same with a model of the plugin `reading`, which says the colours of an image's halves."""
    furnish(app)
    folder = app.extensions["sightloop"].settings.data_dir
    keep(app, bundles.reader(folder / "made", "parts-v1", hold=folder / "no-such-file"))


def keep(app: Flask, made: Bundle) -> None:
    """Let `parts-v1` of a furnished app have this bundle, which is kept where those on trial are."""
    runtime: Runtime = app.extensions["sightloop"]
    kept = runtime.settings.data_dir / "trials" / made.manifest.digest
    kept.parent.mkdir()
    shutil.copytree(made.folder, kept)
    with transaction(runtime.sessions) as session:
        session.execute(update(Model).values(digest=made.manifest.digest, plugin=made.manifest.plugin))


def link_to(app: Flask, *, collects: bool = False) -> str:
    """The path of a new link that opens `parts-v1` for an hour."""
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        model = session.scalars(select(Model)).one()
        trial = registry.create(session, model, minutes=60, collects=collects)
        return registry.path(runtime.settings, trial)


def use_store(app: Flask, store: StoreAddress, bucket: str) -> ObjectStore:
    """Let the only dataset lie in the folder `back/` of a bucket in a store that answers."""
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        dataset = session.scalars(select(Dataset)).one()
        connection = session.get_one(StorageConnection, dataset.connection_id)
        connection.endpoint, connection.access_key = store.endpoint, store.access_key
        connection.secret_encrypted = runtime.sealer.seal(store.secret_key)
        dataset.bucket, dataset.prefix = bucket, "back/"
    kept = runtime.store(connection)
    kept.ensure_bucket(bucket)
    return kept
