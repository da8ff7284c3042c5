"""Blanks at the ends: part of keys, labels and cursors; a slip of the keyboard in what people type."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory, transaction
from backend.storage import StoreAddress
from tests import servers
from tests.api.conftest import Caller
from tests.console.conftest import furnish

_KEYS = ["parts/ a/1.jpg", "parts/b", "parts/b ", "parts/c"]
_LABEL = " screw"


@pytest.fixture(scope="session")
def store() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture
def dataset(app: Flask, api_sessions: SessionFactory) -> str:
    """A dataset with images of such names, all with the same label."""
    furnish(app)
    with transaction(api_sessions) as session:
        row = session.scalars(select(Dataset)).one()
        session.query(Image).delete()
        for key in _KEYS:
            session.add(Image(dataset_id=row.id, key=key, etag="e", size=1, label=_LABEL, usable=True))
    return "/datasets/parts"


def test_pages_of_images_end_and_begin_at_keys_with_blanks(admin: Caller, dataset: str) -> None:
    found: list[str] = []
    after = ""
    for _ in _KEYS:
        query = {"limit": 1, "after": after}
        page = admin("GET", f"{dataset}/images", query_string=query).get_json()
        found += [item["key"] for item in page["items"]]
        after = page["next"]
    assert found == _KEYS
    assert admin("GET", f"{dataset}/images", query_string={"after": after}).get_json()["items"] == []


def test_a_label_that_begins_with_a_blank_is_asked_for_and_trained(admin: Caller, dataset: str) -> None:
    named = admin("GET", f"{dataset}/images", query_string={"label": _LABEL}).get_json()["items"]
    assert [item["key"] for item in named] == _KEYS
    assert admin("GET", f"{dataset}/images", query_string={"label": "screw"}).get_json()["items"] == []
    body = {"name": "t", "dataset": "parts", "algorithm": "classification-high-performance"}
    refused = admin("POST", "/training-tasks", {**body, "labels": [_LABEL]}).get_json()
    assert refused["code"] == "not_enough_data" and "at least two labels" in refused["detail"]


def test_an_uploaded_key_keeps_its_blanks(admin: Caller, store: StoreAddress) -> None:
    connection = {
        "name": "real",
        "endpoint": store.endpoint,
        "access_key": store.access_key,
        "secret_key": store.secret_key,
    }
    assert admin("POST", "/storage-connections", connection).status_code == 201
    key = " p/dir/a.jpg "
    body = {"bucket": "blanks", "files": [{"key": key, "size": 1, "md5": "0" * 32}]}
    (upload,) = admin("POST", "/storage-connections/real/uploads", body).get_json()["uploads"]
    assert upload["key"] == key and "/%20p/dir/a.jpg%20?" in upload["url"]


def test_blanks_around_what_is_typed_are_dropped(admin: Caller, dataset: str) -> None:
    body = {
        "name": " typed ",
        "dataset": " parts",
        "algorithm": "classification-high-performance ",
        "description": " the second\n",
        "labels": [_LABEL],
    }
    assert admin("POST", "/training-tasks", body).get_json()["code"] == "not_enough_data"
    service = {"name": " two ", "model": " parts-v1 "}
    made = admin("POST", "/services", service)
    assert made.status_code == 201 and made.get_json()["name"] == "two"
