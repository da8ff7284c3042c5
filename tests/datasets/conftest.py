"""Fixtures of dataset tests: a shared SeaweedFS, a folder of its own in it, and a dataset on that folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image as PillowImage
from sqlalchemy import select

from backend.datasets import operations
from backend.datasets.tables import Dataset, Finding, Image, Operation
from backend.db import SessionFactory, transaction
from backend.settings import Settings
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.tables import StorageConnection, Workspace
from tests import servers

BUCKET = "datasets"


@pytest.fixture(scope="session")
def address() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture(scope="session")
def store(address: StoreAddress) -> Iterator[ObjectStore]:
    store = ObjectStore(address)
    store.ensure_bucket(BUCKET)
    yield store
    store.close()


class Place:
    """A dataset and its folder in the bucket, with short ways to what tests ask of them."""

    def __init__(self, sessions: SessionFactory, store: ObjectStore, dataset: Dataset) -> None:
        self.sessions = sessions
        self.store = store
        self.dataset = dataset
        self.prefix = dataset.prefix

    def put(self, name: str, data: bytes = b"x") -> None:
        """Put an object under the prefix."""
        self.store.put_bytes(BUCKET, self.prefix + name, data)

    def drop(self, *names: str) -> None:
        """Delete objects under the prefix."""
        self.store.delete(BUCKET, [self.prefix + name for name in names])

    def operation(self, kind: str = "sync") -> Operation:
        """A claimed operation."""
        with transaction(self.sessions) as session:
            operation = operations.start(session, self.dataset, kind)
        with transaction(self.sessions) as session:
            claimed = operations.claim(session, operation.id)
        assert claimed is not None
        return claimed

    def sync(self) -> dict[str, int]:
        """Sync to the end; the counts that are not zero."""
        from backend.datasets import index

        operation = self.operation()
        counts = index.sync(self.sessions, self.store, self.dataset, operation)
        with transaction(self.sessions) as session:
            operations.finish(session, operation.id, operation.attempt, dict(counts))
        return {name: number for name, number in counts.items() if number}

    def check(self, **settings: int) -> dict[str, int]:
        """Check to the end."""
        from backend.datasets import check

        return check.check(self.sessions, self.store, self.dataset, settings=Settings(**settings))  # type: ignore[arg-type]

    def images(self) -> dict[str, Image]:
        """All rows by name, without the prefix."""
        with self.sessions() as session:
            rows = session.scalars(select(Image).where(Image.dataset_id == self.dataset.id))
            return {row.key.removeprefix(self.prefix): row for row in rows}

    def findings(self, source: str | None = None) -> list[tuple[str, str]]:
        """Code and key (without the prefix) of all findings, sorted."""
        with self.sessions() as session:
            rows = session.scalars(select(Finding).where(Finding.dataset_id == self.dataset.id)).all()
        return sorted(
            (row.code, row.key.removeprefix(self.prefix))
            for row in rows
            if source is None or row.source == source
        )

    def messages(self, code: str) -> list[str]:
        """The sentences of all findings of a code."""
        with self.sessions() as session:
            query = select(Finding.message).where(Finding.dataset_id == self.dataset.id, Finding.code == code)
            return sorted(session.scalars(query))


@pytest.fixture
def connection(sessions: SessionFactory, address: StoreAddress) -> StorageConnection:
    with transaction(sessions) as session:
        workspace = Workspace(name="default")
        session.add(workspace)
        session.flush()
        row = StorageConnection(workspace_id=workspace.id, name="default", endpoint=address.endpoint)
        session.add(row)
    return row


@pytest.fixture
def place(sessions: SessionFactory, store: ObjectStore, connection: StorageConnection) -> Place:
    with transaction(sessions) as session:
        dataset = Dataset(
            workspace_id=connection.workspace_id,
            connection=connection,
            name="parts",
            type="classification",
            bucket=BUCKET,
            prefix=f"{uuid4().hex}/",
        )
        session.add(dataset)
    return Place(sessions, store, dataset)


@pytest.fixture
def texts(place: Place) -> Place:
    """The same as a dataset of text."""
    with transaction(place.sessions) as session:
        place.dataset = session.merge(place.dataset)
        place.dataset.type = "ocr"
    return place


Draw = Callable[..., bytes]


@pytest.fixture
def draw() -> Draw:
    """Draws an image that looks like no other with another seed, and encodes it."""

    def draw(seed: int, format: str = "JPEG", size: tuple[int, int] = (64, 48), **options: object) -> bytes:
        blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = PillowImage.fromarray(blocks).resize(size, PillowImage.Resampling.BICUBIC)
        buffer = BytesIO()
        image.save(buffer, format, **options)
        return buffer.getvalue()

    return draw
