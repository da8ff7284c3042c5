"""Storage connections by clicks, against a real store: tested before they are kept, no secret comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from backend.storage import StoreAddress
from tests import servers
from tests.api.conftest import Caller
from tests.console.conftest import MARKUP, csrf_of, furnish

SECRET = "a-secret-of-nobody"


@pytest.fixture(scope="session")
def address_of_store() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture
def values(address_of_store: StoreAddress) -> dict[str, str]:
    store = address_of_store
    return {
        "name": "minio",
        "endpoint": store.endpoint,
        "region": store.region,
        "access_key": store.access_key,
        "secret_key": store.secret_key,
        "addressing": "auto",
        "public_endpoint": "",
    }


def _send(client: FlaskClient, path: str, values: dict[str, str]) -> tuple[int, str]:
    form = {"csrf_token": csrf_of(client.get("/storage/default").text), **values}
    response = client.post(path, data=form, follow_redirects=True)
    return response.status_code, response.text


def test_a_connection_is_made_tested_changed_and_deleted(member: FlaskClient, values: dict[str, str]) -> None:
    status, page = _send(member, "/new/storage", values)
    assert status == 200 and values["endpoint"] in page and values["access_key"] in page
    assert re.search(r'href="/storage/minio"', member.get("/storage").text)
    assert "minio works" in _send(member, "/storage/minio/test", {})[1]
    given = {"access_key": values["access_key"], "secret_key": SECRET}
    assert "the secret key is wrong" in _send(member, "/storage/minio/credentials", given)[1]
    assert "minio works" in _send(member, "/storage/minio/test", {})[1], "the old secret stays"
    given["secret_key"] = values["secret_key"]
    assert "new credentials" in _send(member, "/storage/minio/credentials", given)[1]
    assert "minio is deleted" in _send(member, "/storage/minio/delete", {})[1]
    assert member.get("/storage/minio").status_code == 404


def test_the_secret_is_in_no_page_and_no_answer(
    member: FlaskClient, admin: Caller, values: dict[str, str]
) -> None:
    _send(member, "/new/storage", values)
    pages = [member.get(path).text for path in ("/storage", "/storage/minio", "/new/storage")]
    answers = [admin("GET", f"/storage-connections{path}").text for path in ("", "/minio")]
    assert not [text for text in pages + answers if values["secret_key"] in text]


@pytest.mark.parametrize(
    "change, status, sentence",
    [
        ({"name": MARKUP}, 422, "letters, digits"),
        ({"name": "default"}, 409, "already"),
        ({"endpoint": "minio.example.org"}, 422, "is no endpoint"),
        ({"endpoint": "http://127.0.0.1:9"}, 502, "the connection is refused"),
        ({"secret_key": SECRET}, 422, "the secret key is wrong"),
        ({"access_key": "nobody"}, 422, "does not know the access key"),
        ({"region": "eu west"}, 422, "is no region"),
        ({"addressing": "sideways"}, 422, "addressing is one of"),
        ({"access_key": "x" * 201}, 422, "at most 200"),
    ],
)
def test_what_the_store_refuses_is_not_kept_and_the_form_keeps_all_but_the_secret(
    member: FlaskClient, values: dict[str, str], change: dict[str, str], status: int, sentence: str
) -> None:
    found, page = _send(member, "/new/storage", {**values, **change})
    assert found == status
    assert sentence in page and 'role="alert"' in page and MARKUP not in page
    assert SECRET not in page and values["secret_key"] not in page
    assert 'href="/storage/minio"' not in member.get("/storage").text


def test_what_a_dataset_reads_through_is_not_deleted(app: Flask, member: FlaskClient) -> None:
    furnish(app)
    assert "delete them first" in _send(member, "/storage/store/delete", {})[1]
    page = member.get("/storage/store").text
    assert 'href="/datasets/parts"' in page and 'action="/storage/store/delete"' not in page


def test_the_connection_of_the_settings_is_changed_there(member: FlaskClient, admin: Caller) -> None:
    given = {"access_key": "other", "secret_key": "other"}
    assert "SIGHTLOOP_S3_SECRET_KEY" in _send(member, "/storage/default/credentials", given)[1]
    answer = admin("PATCH", "/storage-connections/default", given)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "wrong_state")
    assert admin("PATCH", "/storage-connections/nothing", given).status_code == 404


def test_a_store_that_is_down_says_so_and_its_page_stays(app: Flask, member: FlaskClient) -> None:
    furnish(app)
    status, page = _send(member, "/storage/store/test", {})
    assert status == 200 and "127.0.0.1:9 cannot be reached" in page
