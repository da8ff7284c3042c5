"""Deleting datasets, models and services: what goes, what stays, and everything that stands against it."""

from __future__ import annotations

from datetime import timedelta
from html import escape

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser
from sqlalchemy import func, select

from backend.datasets import operations
from backend.datasets import registry as datasets
from backend.datasets.tables import Dataset, Image
from backend.db import SessionFactory, now, transaction
from backend.label_studio.tables import LabelingProject
from backend.models import registry as models
from backend.models.tables import Model, StaleObject
from backend.runtime import Runtime
from backend.services.tables import Service
from backend.training.tables import TaskMetric, TrainingTask
from backend.trials.tables import Trial
from tests.api.conftest import Caller
from tests.console.conftest import MARKUP, csrf_of, furnish, sign_in
from tests.console.test_front import _check, _sign_in, _watched


def _at_rest(sessions: SessionFactory) -> None:
    """No service, and no task that runs."""
    with transaction(sessions) as session:
        session.delete(session.get_one(Service, 1))
        for task in session.scalars(select(TrainingTask)):
            task.state = "stopped"


def _count(sessions: SessionFactory, table: type) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def _delete(client: FlaskClient, path: str, **values: str) -> tuple[int, str]:
    form = {"csrf_token": csrf_of(client.get(f"{path}/delete").text), **values}
    response = client.post(f"{path}/delete", data=form, follow_redirects=True)
    return response.status_code, response.text


def test_a_model_goes_with_its_bundle_and_its_links(
    furnished: FlaskClient, api_sessions: SessionFactory, app: Flask
) -> None:
    _at_rest(api_sessions)
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(api_sessions) as session:
        digest = session.get_one(Model, 1).digest
        session.add(Trial(model_id=1, expires_at=now() + timedelta(hours=1)))
    status, page = _delete(furnished, "/models/parts-v1")
    assert status == 200 and "Model parts-v1 is deleted." in page
    assert (_count(api_sessions, Model), _count(api_sessions, Trial)) == (0, 0)
    assert furnished.get("/tasks/parts-v1").status_code == 200
    assert furnished.get("/models/parts-v1").status_code == 404
    # The store of these tests does not answer: what is to be removed there is noted.
    with runtime.sessions() as session:
        assert session.scalars(select(StaleObject.key)).all() == [f"models/{digest}.zip"]


def test_the_page_says_which_model_will_be_the_current_one(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    assert "there will be none then" in furnished.get("/models/parts-v1/delete").text
    with transaction(api_sessions) as session:
        first = session.get_one(Model, 1)
        kept = {
            column.key: getattr(first, column.key)
            for column in Model.__table__.columns
            if column.key not in ("id", "name", "digest", "created_at")
        }
        session.add(Model(**kept, name="newer", digest="1" * 64))
        session.flush()
        session.add(Model(**{**kept, "worse_than": "newer"}, name="worse", digest="2" * 64))
    assert "parts-v1 will be that then" in furnished.get("/models/newer/delete").text
    assert "current model" not in furnished.get("/models/worse/delete").text
    assert _delete(furnished, "/models/newer")[0] == 200
    with api_sessions() as session:
        current = models.current(session, 1)
        assert current is not None and current.name == "parts-v1"


def test_a_model_in_use_stays(furnished: FlaskClient, admin: Caller, api_sessions: SessionFactory) -> None:
    status, page = _delete(furnished, "/models/parts-v1")
    assert status == 409 and "is served by check" in page
    with transaction(api_sessions) as session:
        session.delete(session.get_one(Service, 1))
        session.scalars(select(TrainingTask).where(TrainingTask.name == "parts-v2")).one().parent = "parts-v1"
    status, page = _delete(furnished, "/models/parts-v1")
    assert status == 409 and "training task parts-v2 starts from model" in page
    assert admin("DELETE", "/models/parts-v1").get_json()["code"] == "in_use"
    assert _count(api_sessions, Model) == 1


def test_a_dataset_goes_with_what_was_made_from_it(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    _at_rest(api_sessions)
    with transaction(api_sessions) as session:
        session.add(LabelingProject(dataset_id=1, project=7))
    asked = furnished.get("/datasets/parts/delete").text
    assert "No image is touched" in asked and "training tasks (2)" in asked and "/projects/7/data" in asked
    assert MARKUP not in asked and escape(MARKUP) in asked
    status, page = _delete(furnished, "/datasets/parts")
    assert status == 409 and "has the model parts-v1" in page
    status, page = _delete(furnished, "/datasets/parts", with_models="yes")
    assert status == 200 and "its images are still in the bucket" in page and "/projects/7/data" in page
    for table in (Dataset, Image, Model, TrainingTask, TaskMetric, LabelingProject):
        assert _count(api_sessions, table) == 0
    assert furnished.get("/datasets/parts").status_code == 404


def test_a_dataset_at_work_stays_whole(
    furnished: FlaskClient, admin: Caller, api_sessions: SessionFactory
) -> None:
    refused = admin("DELETE", "/datasets/parts?with_models=true").get_json()
    assert refused["code"] == "in_use" and "the tasks parts-v1, parts-v2" in refused["detail"]
    with transaction(api_sessions) as session:
        for task in session.scalars(select(TrainingTask)):
            task.state = "failed"
    refused = admin("DELETE", "/datasets/parts?with_models=true").get_json()
    assert refused["code"] == "in_use" and "is served by check" in refused["detail"]
    _at_rest(api_sessions)
    with transaction(api_sessions) as session:
        operations.start(session, datasets.get(session, 1, "parts"), "sync")
    assert admin("DELETE", "/datasets/parts?with_models=true").get_json()["code"] == "wrong_state"
    assert (_count(api_sessions, Model), _count(api_sessions, TrainingTask)) == (1, 2)


def test_the_api_says_what_went(furnished: FlaskClient, admin: Caller, api_sessions: SessionFactory) -> None:
    _at_rest(api_sessions)
    assert admin("DELETE", "/datasets/parts").get_json()["code"] == "in_use"
    assert admin("DELETE", "/models/parts-v1").status_code == 204
    assert admin("DELETE", "/models/parts-v1").get_json()["code"] == "not_found"
    gone = admin("DELETE", "/datasets/parts").get_json()
    assert gone == {
        "name": "parts",
        "state": "deleted",
        "models": [],
        "tasks": ["parts-v2", "parts-v1"],
        "label_studio": "",
    }
    assert admin("DELETE", "/datasets/parts").status_code == 404


def test_a_service_goes_once_its_page_has_said_who_may_still_call_it(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    with transaction(api_sessions) as session:
        service = session.get_one(Service, 1)
        service.endpoint = "http://factory.example:8000/api/predict/check"
    asked = furnished.get("/services/check/delete").text
    assert "http://factory.example:8000/api/predict/check" in asked and "parts-v1 stays" in asked
    status, page = _delete(furnished, "/services/check")
    assert status == 200 and "Service check is being deleted" in page
    with api_sessions() as session:
        gone = session.get_one(Service, 1)
        assert (gone.desired, gone.state) == ("deleted", "Deleting")
    status, page = _delete(furnished, "/services/check")
    assert status == 409 and "is being deleted" in page


@pytest.mark.parametrize("path", ["/datasets/parts", "/models/parts-v1", "/services/check"])
def test_a_stranger_deletes_nothing(
    app: Flask, stranger: Caller, api_sessions: SessionFactory, path: str
) -> None:
    furnish(app)
    if "services" not in path:
        _at_rest(api_sessions)
    with app.test_client() as client:
        sign_in(client, stranger.token)
        form = {"csrf_token": csrf_of(client.get("/").text), "with_models": "yes"}
        assert client.get(f"{path}/delete").status_code == 404
        assert client.post(f"{path}/delete", data=form).status_code == 404
    assert stranger("DELETE", f"{path}?with_models=true" if "datasets" in path else path).status_code == 404
    assert (_count(api_sessions, Dataset), _count(api_sessions, Model)) == (1, 1)
    with api_sessions() as session:
        assert not session.scalars(select(Service).where(Service.desired == "deleted")).all()


def test_it_is_deleted_by_clicks_alone(
    furnished: FlaskClient, api_sessions: SessionFactory, address: str, browser: Browser
) -> None:
    _at_rest(api_sessions)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = _watched(page)
    _sign_in(page, address)
    page.goto(f"{address}/datasets/parts")
    page.get_by_role("link", name="Delete").click()
    _check(page)
    page.get_by_role("link", name="Cancel").click()
    page.get_by_role("link", name="Delete").click()
    page.get_by_label("Delete them, too").check()
    page.get_by_role("button", name="Delete the dataset").click()
    page.get_by_text("Dataset parts is deleted").wait_for()
    assert errors == []
    page.close()
