"""Labeling by the API: refusals, and the two addresses that ask for no token."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import select

from backend.datasets import links
from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory, now, transaction
from backend.label_studio import registry
from backend.label_studio.tables import LabelingProject
from backend.labels import store
from backend.runtime import Runtime
from backend.settings import Settings
from backend.workspaces.tables import StorageConnection
from plugins.contract import Label
from tests.api.conftest import Caller

SECRET = "what only our webhook knows"


@pytest.fixture
def image(app: Flask, api_sessions: SessionFactory) -> int:
    """The id of an image of a dataset that has a project in Label Studio."""
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(api_sessions) as session:
        connection = StorageConnection(workspace_id=1, name="here", endpoint="http://127.0.0.1:9")
        session.add(connection)
        session.flush()
        dataset = Dataset(
            workspace_id=1,
            connection_id=connection.id,
            name="parts",
            type="classification",
            bucket="bucket",
            prefix="",
        )
        session.add(dataset)
        session.flush()
        one = Image(dataset_id=dataset.id, key="bolt/1.jpg", etag="e", size=1)
        sealed = runtime.sealer.seal(SECRET)
        session.add_all(
            [one, LabelingProject(dataset_id=dataset.id, project=7, webhook_secret_encrypted=sealed)]
        )
        session.flush()
        return one.id


def test_labeling_without_label_studio_is_refused_with_the_fix(admin: Caller, image: int) -> None:
    answer = admin("POST", "/datasets/parts/labeling", {})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "label_studio_missing")
    assert "SIGHTLOOP_LABEL_STUDIO_URL" in answer.get_json()["detail"]


def signed_link(app: Flask, settings: Settings, image: int, expires: datetime) -> str:
    with app.extensions["sightloop"].sessions() as session:
        row = session.get_one(Image, image)
        dataset = session.get_one(Dataset, row.dataset_id)
        return links.link(settings, dataset, row, expires).rpartition("/")[2]


def test_a_link_to_a_deleted_image_does_not_open_the_one_that_has_its_id_now(
    app: Flask, settings: Settings, image: int
) -> None:
    signed = signed_link(app, settings, image, now() + timedelta(days=1))
    with transaction(app.extensions["sightloop"].sessions) as session:
        session.get_one(Dataset, session.get_one(Image, image).dataset_id).created_at = now()
    with app.test_client() as client:
        answer = client.get(f"/images/{signed}")
    assert (answer.status_code, answer.get_json()["code"]) == (410, "link_expired")


def test_a_forged_link_shows_no_image(app: Flask, settings: Settings, image: int) -> None:
    signed = signed_link(app, settings, image, now() + timedelta(days=1))
    with app.test_client() as client:
        answer = client.get(f"/images/{signed[:-9]}{signed[:-10:-1]}")
    assert answer.status_code == 404


def test_an_expired_link_shows_no_image(app: Flask, settings: Settings, image: int) -> None:
    signed = signed_link(app, settings, image, now() - timedelta(seconds=1))
    with app.test_client() as client:
        assert client.get(f"/images/{signed}").status_code == 410


def test_a_store_that_is_down_is_named(app: Flask, settings: Settings, image: int) -> None:
    signed = signed_link(app, settings, image, now() + timedelta(days=1))
    with app.test_client() as client:
        assert client.get(f"/images/{signed}").status_code == 502


@pytest.mark.parametrize(
    ("project", "secret", "status"), [(1, "", 401), (1, "wrong", 401), (99, SECRET, 404)]
)
def test_a_webhook_without_the_secret_is_refused(
    app: Flask, redis: Redis, image: int, project: int, secret: str, status: int
) -> None:
    with app.test_client() as client:
        answer = client.post(
            f"/hooks/label-studio/{project}", headers={registry.SECRET_HEADER: secret} if secret else {}
        )
    assert answer.status_code == status
    assert registry.take_hints(redis) == []


def test_a_thousand_webhooks_are_one_hint(app: Flask, redis: Redis, image: int) -> None:
    with app.test_client() as client:
        for _ in range(1000):
            answer = client.post("/hooks/label-studio/1", headers={registry.SECRET_HEADER: SECRET})
            assert answer.status_code == 202
    assert registry.take_hints(redis) == [1]
    assert registry.take_hints(redis) == []


def test_the_history_says_who_changed_what(admin: Caller, api_sessions: SessionFactory, image: int) -> None:
    with transaction(api_sessions) as session:
        row = session.scalars(select(Image).where(Image.id == image)).one()
        store.apply(session, row, Label("bolt"), source="folder")
        store.apply(session, row, Label("nut"), source="label_studio", author="ada@example.org")
    changes = admin("GET", "/datasets/parts/labels/history").get_json()["items"]
    assert [(one["author"], (one["before"] or {}).get("name"), one["after"]["name"]) for one in changes] == [
        ("", None, "bolt"),
        ("ada@example.org", "bolt", "nut"),
    ]


def test_a_stranger_sees_no_history(stranger: Caller, image: int) -> None:
    assert stranger("GET", "/datasets/parts/labels/history").status_code == 404
