"""Bringing a snapshot's images to the worker."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from plugins.contract import Example
from tests.datasets.conftest import BUCKET, Place
from workers import prepare


class CountingStore:
    """The store, which notes what is read from it."""

    def __init__(self, place: Place) -> None:
        self.place, self.read_keys = place, list[str]()

    def read(self, bucket: str, key: str, limit: int) -> bytes:
        self.read_keys.append(key)
        return self.place.store.read(bucket, key, limit)


def _example(key: str, data: bytes) -> Example:
    return Example(key, "e", len(data), hashlib.sha256(data).hexdigest(), "train", "bolt")


def test_copies_of_an_image_are_fetched_once(place: Place, tmp_path: Path) -> None:
    """Two threads that write one file under the same name would end the training."""
    examples = []
    for number in range(60):
        data = bytes([number // 20]) * 300_000
        place.put(f"{number}.jpg", data)
        examples.append(_example(f"{place.prefix}{number}.jpg", data))
    store: Any = CountingStore(place)
    task = SimpleNamespace(dataset=SimpleNamespace(bucket=BUCKET))
    record = SimpleNamespace(flush_if_due=lambda: None, nothing_to_keep=False)
    attempt: Any = SimpleNamespace(task=task, record=record)
    prepared: Any = SimpleNamespace(examples=examples, images=tmp_path / "images")
    assert prepare._fetch(attempt, store, prepared) == 3
    assert len(store.read_keys) == 3
    for one in examples:
        found = (prepared.images / one.content_hash).read_bytes()
        assert hashlib.sha256(found).hexdigest() == one.content_hash
    assert prepare._fetch(attempt, store, prepared) == 0
