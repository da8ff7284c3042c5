"""Uploads: what is there already is not sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from backend.errors import BucketMissing
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.uploads import File, Plan, plan
from tests import servers


@pytest.fixture(scope="session")
def address() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture
def store(address: StoreAddress) -> Iterator[ObjectStore]:
    made = ObjectStore(address)
    yield made
    made.close()


@pytest.fixture
def bucket() -> str:
    return f"uploads-{uuid4().hex[:8]}"


CONTENT = {key: key.encode() for key in ("a/b.jpg", "a-b.jpg", "a.jpg", "ä ö%2F.jpg", "z/1/2.jpg")}
FILES = [File(key, len(data), hashlib.md5(data).hexdigest()) for key, data in CONTENT.items()]


def _plan(store: ObjectStore, bucket: str, *, create: bool = True) -> Plan:
    return plan(store, bucket, FILES, create_bucket=create, expires=timedelta(minutes=5))


def test_a_missing_bucket_is_made_and_every_file_gets_an_address(store: ObjectStore, bucket: str) -> None:
    made = _plan(store, bucket)
    assert made.created_bucket
    for key, url in made.urls:
        assert url is not None
        assert httpx.put(url, content=CONTENT[key]).status_code == 200
    for key, data in CONTENT.items():
        assert store.read(bucket, key, limit=100) == data


def test_what_is_there_is_not_sent_again_in_whatever_order_the_store_lists(
    store: ObjectStore, bucket: str
) -> None:
    store.ensure_bucket(bucket)
    for key, data in CONTENT.items():
        store.put_bytes(bucket, key, data)
    assert {url for _, url in _plan(store, bucket).urls} == {None}


def test_other_content_under_the_same_key_is_sent(store: ObjectStore, bucket: str) -> None:
    store.ensure_bucket(bucket)
    store.put_bytes(bucket, "a.jpg", b"other")
    assert all(url is not None for _, url in _plan(store, bucket).urls)


def test_a_bucket_that_shall_not_be_made_is_missed(store: ObjectStore, bucket: str) -> None:
    with pytest.raises(BucketMissing):
        _plan(store, bucket, create=False)
    assert not store.bucket_exists(bucket)
