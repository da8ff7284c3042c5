"""The bucket with models and snapshots is no place for images, through whichever connection."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask

from backend.db import transaction
from backend.runtime import Runtime
from backend.workspaces.tables import StorageConnection
from tests.api.conftest import Caller

_FILE = {"key": f"models/{'0' * 64}.zip", "size": 3, "md5": "0" * 32}


@pytest.fixture
def own(app: Flask) -> str:
    """A connection of one's own to the same store, under another of its names."""
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        session.add(StorageConnection(workspace_id=1, name="own", endpoint="http://localhost:9"))
    return "own"


@pytest.mark.parametrize("name", ["default", "own"])
def test_nothing_is_uploaded_into_it(admin: Caller, own: str, name: str) -> None:
    body = {"bucket": "sightloop", "files": [_FILE]}
    refused = admin("POST", f"/storage-connections/{name}/uploads", body)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "invalid_request")
    assert "holds Sightloop's own models" in refused.get_json()["detail"]


@pytest.mark.parametrize("path", ["s3://sightloop/", "s3://sightloop/models/"])
def test_no_dataset_lists_it(admin: Caller, path: str) -> None:
    body = {"name": "parts", "type": "classification", "path": path}
    refused = admin("POST", "/datasets", body)
    assert refused.status_code == 422 and "choose another bucket" in refused.get_json()["detail"]
    assert admin("GET", "/datasets/parts").status_code == 404


def test_a_bucket_of_that_name_in_another_store_is_open(app: Flask) -> None:
    runtime: Runtime = app.extensions["sightloop"]
    assert runtime.store(_connection("https://s3.example.org")).address.reserved == ""
    assert runtime.store(_connection(runtime.settings.s3_endpoint)).address.reserved == "sightloop"


def test_sightloop_itself_opens_it_under_the_name_of_the_setting(app: Flask) -> None:
    runtime: Runtime = app.extensions["sightloop"]
    assert runtime.artifacts.address.reserved == ""
    renamed = Runtime(replace(runtime.settings, s3_bucket="artifacts"))
    assert renamed.store(_connection(runtime.settings.s3_endpoint)).address.reserved == "artifacts"


def _connection(endpoint: str) -> StorageConnection:
    return StorageConnection(endpoint=endpoint, secret_encrypted="", addressing="auto", region="us-east-1")
