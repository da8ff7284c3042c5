"""What to label next and doubtful labels by the API."""

from __future__ import annotations

import pytest
from flask import Flask

from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory, transaction
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.labels.tables import LabelSuspect, QueuedLabel
from backend.runtime import Runtime
from backend.workspaces.tables import StorageConnection
from tests.api.conftest import Caller


@pytest.fixture(autouse=True)
def dataset(app: Flask, api_sessions: SessionFactory) -> None:
    """A dataset with three images; the second has an item in Label Studio, the third a doubtful label."""
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(api_sessions) as session:
        connection = StorageConnection(workspace_id=1, name="here", endpoint="http://127.0.0.1:9")
        session.add(connection)
        session.flush()
        parts = Dataset(
            workspace_id=1,
            connection_id=connection.id,
            name="parts",
            type="classification",
            bucket="bucket",
            prefix="",
        )
        session.add(parts)
        session.flush()
        first, second, third = (
            Image(dataset_id=parts.id, key=f"{n}.jpg", etag="e", size=1) for n in (1, 2, 3)
        )
        third.label, third.label_source = "bolt", "csv"
        session.add_all([first, second, third])
        session.flush()
        sealed = runtime.sealer.seal("secret")
        session.add(LabelingProject(dataset_id=parts.id, project=7, webhook_secret_encrypted=sealed))
        session.add(LabelingItem(dataset_id=parts.id, image_id=second.id, item=41, etag="e"))
        for place, image in enumerate((second, first)):
            session.add(
                QueuedLabel(
                    dataset_id=parts.id, image_id=image.id, position=place, score=0.5, reason="typical"
                )
            )
        session.add(
            LabelSuspect(
                dataset_id=parts.id, image_id=third.id, given="bolt", suggested="nut", confidence=0.9
            )
        )


def test_the_order_is_listed_with_reasons_and_links(admin: Caller) -> None:
    page = admin("GET", "/datasets/parts/next?limit=1").get_json()
    (one,) = page["items"]
    assert (one["key"], one["reason"], page["next"]) == ("2.jpg", "typical", 0)
    assert one["url"].endswith("/projects/7/data?task=41")
    (other,) = admin("GET", "/datasets/parts/next?after=0").get_json()["items"]
    assert (other["key"], other["url"]) == ("1.jpg", "")


def test_a_doubtful_label_is_listed_with_both_opinions(admin: Caller) -> None:
    (one,) = admin("GET", "/datasets/parts/doubts").get_json()["items"]
    assert (one["key"], one["label"], one["suggested"], one["confidence"]) == ("3.jpg", "bolt", "nut", 0.9)


@pytest.mark.parametrize("kind, body", [("next", {"count": 5}), ("doubts", None)])
def test_each_is_an_operation_of_which_one_runs_at_a_time(admin: Caller, kind: str, body: object) -> None:
    started = admin("POST", f"/datasets/parts/{kind}", body)
    assert (started.status_code, started.get_json()["kind"]) == (202, kind)
    again = admin("POST", f"/datasets/parts/{kind}", body)
    assert again.status_code == 409 and "already" in again.get_json()["detail"]


def test_an_order_of_no_images_or_of_no_dataset_is_refused(admin: Caller) -> None:
    assert admin("POST", "/datasets/parts/next", {"count": 0}).status_code == 422
    assert admin("POST", "/datasets/nothing/doubts").status_code == 404
