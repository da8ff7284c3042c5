"""The forms that make something: what they make, and how they refuse."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from rq import Worker

from backend.db import SessionFactory
from backend.queue import queue
from backend.services import registry as services
from backend.training import registry as tasks
from tests.console.conftest import MARKUP, csrf_of

TASK = {
    "dataset": "parts",
    "algorithm": "classification-high-performance",
    "name": "parts-v3",
    "minutes": "2",
    "start_from": "current",
    "labels": "",
}


def _send(client: FlaskClient, address: str, **values: str) -> tuple[int, str]:
    form = {"csrf_token": csrf_of(client.get("/").text), **values}
    response = client.post(address, data=form)
    return response.status_code, response.headers.get("Location") or response.text


def test_training_starts_with_the_values_of_the_form(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    values = {**TASK, "parameter.epochs": "3", "parameter.image_size": "", "labels": "bolt\r\n" + MARKUP}
    assert _send(furnished, "/new/task", **values) == (303, "/tasks/parts-v3")
    with api_sessions() as session:
        task = tasks.get(session, 1, "parts-v3")
    assert (task.time_budget, task.state) == (120, "queued")
    assert task.parameters["epochs"] == "3" and "image_size" not in task.parameters
    assert task.labels == sorted(["bolt", MARKUP])


def test_the_form_has_every_parameter_of_the_algorithm(furnished: FlaskClient) -> None:
    page = furnished.get("/new/task?dataset=parts&algorithm=classification-high-precision").text
    names = set(re.findall(r'name="parameter\.(\w+)"', page))
    assert names == {"epochs", "image_size", "learning_rate", "fine_tune", "precision", "seed", "base"}


PRECISE = "classification-high-precision"


def test_what_is_chosen_anew_is_what_is_trained(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    """The form of one algorithm lacks the parameters of another one: it is drawn again, keeping the rest."""
    drawn = {**TASK, "drawn_for": f"parts/{TASK['algorithm']}", "parameter.epochs": "3"}
    for asked in ({"algorithm": PRECISE}, {"algorithm": PRECISE, "choose": "yes"}):
        status, page = _send(furnished, "/new/task", **{**drawn, **asked})
        assert status == 200 and 'name="parameter.base"' in page
        assert 'value="parts-v3"' in page and 'name="minutes" type="number" value="2"' in page
        assert ("look at them" in page) == ("choose" not in asked)
    _, page = _send(furnished, "/new/task", **{**drawn, "choose": "yes"})
    assert "look at them" not in page  # nothing was chosen anew
    again = {**drawn, "algorithm": PRECISE, "drawn_for": f"parts/{PRECISE}"}
    assert _send(furnished, "/new/task", **again) == (303, "/tasks/parts-v3")
    with api_sessions() as session:
        assert tasks.get(session, 1, "parts-v3").algorithm == PRECISE


def test_gpus_are_offered_where_a_worker_has_them(
    app: Flask, furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    form = f"/new/task?dataset={TASK['dataset']}&algorithm={TASK['algorithm']}"
    assert "No worker has a GPU" in furnished.get(form).text
    redis = app.extensions["sightloop"].redis
    worker = Worker([queue(redis, name) for name in ("train-gpu", "train-gpu-h200")], connection=redis)
    worker.register_birth()  # type: ignore[no-untyped-call]
    page = furnished.get(form).text
    assert 'name="gpus"' in page and '<option value="h200"' in page
    values = {**TASK, "gpus": "2", "gpu_type": "h200"}
    assert _send(furnished, "/new/task", **values) == (303, "/tasks/parts-v3")
    with api_sessions() as session:
        task = tasks.get(session, 1, "parts-v3")
    assert (task.gpus, task.gpu_type, task.queue) == (2, "h200", "train-gpu-h200")
    found, page = _send(furnished, "/new/task", **{**values, "name": "parts-v4", "gpu_type": "a100"})
    assert found == 422 and "the types are h200" in page


@pytest.mark.parametrize(
    "change, status, sentence",
    [
        ({"name": MARKUP}, 422, "letters, digits"),
        ({"name": "parts-v1"}, 409, "already"),
        ({"minutes": "soon"}, 422, "number of minutes"),
        ({"minutes": "nan"}, 422, "number of minutes"),
        ({"minutes": "1e400"}, 422, "number of minutes"),
        ({"gpus": "many"}, 422, "number of GPUs"),
        ({"gpus": "65"}, 422, "number of GPUs"),
        ({"parameter.epochs": "0"}, 422, "epochs must be"),
        ({"parameter.nothing": "1"}, 422, "has no parameter"),
        ({"algorithm": "magic"}, 422, "there is no algorithm"),
        ({"dataset": "gone"}, 404, "there is no dataset"),
        ({"start_from": "gone"}, 404, "there is no model"),
        ({"description": "x" * 1001}, 422, "at most 1000"),
        ({"labels": "unicorn"}, 422, "unicorn"),
    ],
)
def test_a_training_that_cannot_be_is_refused_beside_the_form(
    furnished: FlaskClient, change: dict[str, str], status: int, sentence: str
) -> None:
    found, page = _send(furnished, "/new/task", **{**TASK, **change})
    assert found == status
    assert sentence in page and 'role="alert"' in page and MARKUP not in page


def test_a_deployed_model_shows_its_token_once(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    values = {"model": "parts-v1", "name": "second", "instances": "1", "quota": "1"}
    status, page = _send(furnished, "/new/service", **values)
    assert status == 200 and "shown this once" in page and "curl -s" in page
    with api_sessions() as session:
        assert services.get(session, 1, "second").state == "Creating"


@pytest.mark.parametrize(
    "change, status, sentence",
    [
        ({"name": "check"}, 409, "already"),
        ({"name": ""}, 422, "letters, digits"),
        ({"model": "gone"}, 404, "there is no model"),
        ({"instances": "many"}, 422, "instances must be"),
        ({"quota": "0"}, 422, "quota must be"),
    ],
)
def test_a_service_that_cannot_be_is_refused_beside_the_form(
    furnished: FlaskClient, change: dict[str, str], status: int, sentence: str
) -> None:
    values = {"model": "parts-v1", "name": "second", "instances": "1", "quota": "1", **change}
    found, page = _send(furnished, "/new/service", **values)
    assert found == status
    assert sentence in page and 'role="alert"' in page


@pytest.mark.parametrize(
    "change, status, sentence",
    [
        ({"type": "magic"}, 422, "no type of dataset"),
        ({"path": "/home"}, 422, "s3://"),
        ({"connection": "gone"}, 404, "there is no storage connection"),
        ({"name": "parts"}, 409, "already"),
        ({"name": MARKUP}, 422, "letters, digits"),
        ({}, 502, "127.0.0.1:9"),
    ],
)
def test_a_dataset_that_cannot_be_is_refused_beside_the_form(
    furnished: FlaskClient, change: dict[str, str], status: int, sentence: str
) -> None:
    values = {"name": "new", "type": "classification", "path": "s3://factory/parts", "connection": "store"}
    found, page = _send(furnished, "/new/dataset", **{**values, **change})
    assert found == status
    assert sentence in page and 'role="alert"' in page and MARKUP not in page
