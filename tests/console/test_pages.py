"""The pages over real rows: what they show, whose rows they show, and what their buttons do."""

from __future__ import annotations

import re
from html import escape

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from backend.datasets import findings, operations
from backend.datasets import registry as datasets
from backend.datasets.findings import Found
from backend.datasets.tables import Image
from backend.db import SessionFactory, transaction
from backend.label_studio.tables import LabelingProject
from backend.models.tables import Model
from backend.services import registry as services
from backend.training import registry as tasks
from backend.training.lifecycle import TaskState, advance
from backend.workspaces import registry as workspaces
from tests.api.conftest import Caller
from tests.console.conftest import MARKUP, csrf_of, furnish, sign_in

LISTS = [
    "/",
    "/datasets",
    "/tasks",
    "/models",
    "/services",
    "/storage",
    "/new/dataset",
    "/new/task",
    "/new/service",
    "/new/storage",
]
DETAILS = [
    "/datasets/parts",
    "/datasets/parts?finding=truncated",
    "/datasets/parts?condition=kept_out",
    "/datasets/parts/images/1",
    "/tasks/parts-v2",
    "/tasks/parts-v2?step=prepare",
    "/tasks/parts-v2/live",
    "/models/parts-v1",
    "/services/check",
    "/services/check/live",
    "/storage/store",
    "/models/parts-v1/answers",
    "/models/parts-v1/compare?other=parts-v1",
    "/models/parts-v1/delete",
    "/datasets/parts/delete",
    "/services/check/usage",
    "/services/check/log",
    "/new/task?dataset=parts&algorithm=classification-high-performance",
]


FILES = ["/models/parts-v1/plots/confusion.png", "/models/parts-v1/bundle", "/models/parts-v1/onnx"]


def _post(client: FlaskClient, path: str, page: str, **values: object) -> str:
    form = {"csrf_token": csrf_of(client.get(page).text), **values}
    return client.post(path, data=form, follow_redirects=True).text


@pytest.mark.parametrize("path", LISTS)
def test_an_empty_workspace_says_what_to_do(member: FlaskClient, path: str) -> None:
    response = member.get(path)
    assert response.status_code == 200
    assert re.search(r'href="/new/\w+"|<form', response.text)


PARTS = [
    "/new/dataset/browse?connection=store",
    "/new/dataset/seen?connection=store&path=s3://factory/",
]


@pytest.mark.parametrize("path", LISTS + DETAILS + PARTS)
def test_markup_is_text_and_nothing_is_inline(furnished: FlaskClient, path: str) -> None:
    response = furnished.get(path)
    assert response.status_code == 200
    assert MARKUP not in response.text
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son\w+=(?!alert)", response.text)


@pytest.mark.parametrize("path", ["/datasets/parts", "/tasks/parts-v2", "/models/parts-v1"])
def test_odd_names_are_shown_as_they_are(furnished: FlaskClient, path: str) -> None:
    assert escape(MARKUP) in furnished.get(path).text


@pytest.mark.parametrize("path", [*DETAILS[:-1], *FILES])
def test_a_member_of_another_workspace_finds_nothing(app: Flask, stranger: Caller, path: str) -> None:
    furnish(app)
    with app.test_client() as client:
        sign_in(client, stranger.token)
        response = client.get(path)
        assert response.status_code == 404
        assert "there is no" in response.text
        assert "parts" not in client.get("/").text


@pytest.mark.parametrize(
    "path, values",
    [
        ("/datasets/parts/operations", {"kind": "sync"}),
        ("/tasks/parts-v2/stop", {"discard": "yes"}),
        ("/services/check/state", {"change": "stop"}),
        ("/services/check/model", {"model": "parts-v1"}),
        ("/services/check/scale", {"instances": "2"}),
        ("/services/check/tokens", {}),
        ("/services/check/tokens/1/revoke", {}),
        ("/storage/store/test", {}),
        ("/storage/store/credentials", {"access_key": "a", "secret_key": "s"}),
        ("/storage/store/delete", {}),
    ],
)
def test_a_member_of_another_workspace_changes_nothing(
    app: Flask, stranger: Caller, path: str, values: dict[str, str]
) -> None:
    furnish(app)
    with app.test_client() as client:
        sign_in(client, stranger.token)
        form = {"csrf_token": csrf_of(client.get("/").text), **values}
        assert client.post(path, data=form).status_code == 404


def test_no_change_without_the_forms_token(app: Flask, furnished: FlaskClient) -> None:
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("console.") and "POST" in (rule.methods or ()):
            path = re.sub(r"<int:\w+>", "1", re.sub(r"<\w+>", "check", rule.rule))
            assert furnished.post(path).status_code == 400, path


def test_home_names_the_first_missing_step(app: Flask, member: FlaskClient) -> None:
    assert "Make a dataset" in member.get("/").text
    furnish(app)
    assert "Call a service" in member.get("/").text


def test_a_dataset_has_its_classes_findings_and_images(furnished: FlaskClient) -> None:
    page = furnished.get("/datasets/parts").text
    assert "Image cut off" in page and "upload the image again: the end is missing" in page
    assert page.count('src="/thumbnails/') == 12
    assert furnished.get("/datasets/parts?label=bolt").text.count('src="/thumbnails/') == 3
    assert furnished.get("/datasets/parts?condition=unlabelled").text.count('src="/thumbnails/') == 3
    assert furnished.get("/datasets/parts?finding=truncated").text.count('src="/thumbnails/') == 1
    assert "No image fits" in furnished.get("/datasets/parts?label=nothing").text
    assert "No image fits" in furnished.get("/datasets/parts?label=bolt&condition=unlabelled").text
    assert furnished.get("/datasets/parts?condition=usable").text.count('src="/thumbnails/') == 9
    assert furnished.get("/datasets/parts?condition=unchecked").text.count('src="/thumbnails/') == 12
    assert furnished.get("/datasets/parts?condition=magic").text.count('src="/thumbnails/') == 12


def test_a_finding_is_shown_with_its_images_and_its_remedy(furnished: FlaskClient) -> None:
    page = furnished.get("/datasets/parts?finding=truncated").text
    gallery = page[page.index('id="gallery"') :]
    assert "upload the image again" in gallery and gallery.count('src="/thumbnails/') == 1
    of_dataset = furnished.get("/datasets/parts?finding=few_images").text
    assert "has 3</bdi>" in of_dataset[of_dataset.index('id="gallery"') :]


def test_images_without_a_label_are_counted_and_shown(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    """One finding is about all of them."""
    with transaction(api_sessions) as session:
        dataset = datasets.get(session, 1, "parts")
        findings.add(session, dataset, "check", [Found("unlabelled", "3 images have no label")])
    page = furnished.get("/datasets/parts").text
    assert "Images without a label · 3<" in page and 'href="?condition=unlabelled#gallery"' in page
    assert "?finding=unlabelled" not in page


def test_a_new_datasets_next_step_is_its_sync(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    sync, train = (
        'class="btn btn-primary" name="kind" value="sync"',
        'class="btn btn-primary" href="/new/task',
    )
    page = furnished.get("/datasets/parts").text
    assert sync not in page and train in page
    with transaction(api_sessions) as session:
        datasets.get(session, 1, "parts").synced_at = None
    page = furnished.get("/datasets/parts").text
    assert sync in page and train not in page


@pytest.mark.parametrize(
    "path, button, sentence",
    [
        ("/tasks/parts-v2", "Discard it", "there will be no model"),
        ("/services/check", "Revoke it", "is refused within a second"),
        ("/account", "Revoke it", "The command line on the machine of the stack uses it"),
    ],
)
def test_what_cannot_be_taken_back_is_asked_about(
    furnished: FlaskClient, path: str, button: str, sentence: str
) -> None:
    _post(furnished, "/services/check/tokens", "/services/check")
    asked = re.findall(r"<details class=\"asked\">.*?</details>", furnished.get(path).text, re.DOTALL)
    assert any(button in one and sentence in one for one in asked)


def test_only_the_first_workspace_has_the_token_of_the_stacks_command_line(
    app: Flask, stranger: Caller
) -> None:
    with app.test_client() as client:
        sign_in(client, stranger.token)
        page = client.get("/account").text
    assert "is refused from now on" in page and "command line on the machine" not in page


def test_an_image_has_a_page_with_its_label_and_findings(furnished: FlaskClient) -> None:
    page = furnished.get("/datasets/parts/images/1").text
    assert "Image cut off" in page and "upload the image again" in page
    assert f"s3://factory/{escape(MARKUP)}/0-0.jpg" in page
    assert "Nothing was found" not in page and furnished.get("/datasets/parts/images/99").status_code == 404


def test_the_texts_of_an_image_are_drawn_on_it(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    with transaction(api_sessions) as session:
        image = session.get_one(Image, 1)
        image.label, image.width, image.height = None, 80, 60
        image.regions = [{"points": [[1, 2], [30, 2], [30, 9], [1, 9]], "text": MARKUP}]
    outline = '<polygon points="1.0,2.0 30.0,2.0 30.0,9.0 1.0,9.0"/>'
    assert furnished.get("/datasets/parts").text.count(outline) == 1
    page = furnished.get("/datasets/parts/images/1").text
    assert outline in page and 'viewBox="0 0 80 60"' in page and escape(MARKUP) in page
    with transaction(api_sessions) as session:
        image = session.get_one(Image, 1)
        image.regions_width, image.regions_height = 160, 120  # as large as the image was when they were drawn
    assert 'viewBox="0 0 160 120"' in furnished.get("/datasets/parts/images/1").text


def test_many_classes_stay_in_sight(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    with transaction(api_sessions) as session:
        dataset = datasets.get(session, 1, "parts")
        for number in range(500):
            session.add(
                Image(dataset_id=dataset.id, key=f"x{number:03}", etag="e", size=1, label=f"c{number:03}")
            )
    page = furnished.get("/datasets/parts").text
    assert "Classes (503)" in page and page.count('class="class-row"') == 503
    assert "The largest class has 3 images, the smallest 1." in page
    assert "Classes with fewer than 20 usable images: 503." in page
    assert furnished.get("/datasets/parts?label=c499").text.count('src="/thumbnails/') == 1


def test_sync_is_started_once_and_its_progress_is_shown(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    page = _post(furnished, "/datasets/parts/operations", "/datasets/parts", kind="sync")
    assert "Started: sync of parts." in page and 'hx-get="/datasets/parts/progress"' in page
    with api_sessions() as session:
        assert operations.active(session, datasets.get(session, 1, "parts"), "sync") is not None
    page = _post(furnished, "/datasets/parts/operations", "/datasets/parts", kind="sync")
    assert "is queued already" in page


def test_labeling_without_label_studio_says_so(furnished: FlaskClient) -> None:
    page = _post(furnished, "/datasets/parts/operations", "/datasets/parts", kind="label")
    assert "no Label Studio is set up" in page
    page = _post(furnished, "/datasets/parts/operations", "/datasets/parts", kind="delete")
    assert "choose sync, check or label" in page


def test_a_project_that_people_of_other_workspaces_see_is_said_to_be_seen(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    with transaction(api_sessions) as session:
        parts = datasets.get(session, 1, "parts")
        session.add(LabelingProject(dataset_id=parts.id, project=7))
    shared = "who has an account there sees this project"
    page = furnished.get("/datasets/parts").text
    assert "Open the project" in page and shared not in page
    with transaction(api_sessions) as session:
        workspaces.create_workspace(session, "second")
    assert shared in furnished.get("/datasets/parts").text


def test_progress_that_has_ended_reloads_the_page(furnished: FlaskClient) -> None:
    assert furnished.get("/datasets/parts/progress").headers["HX-Refresh"] == "true"


def test_a_task_has_its_steps_curves_and_log(furnished: FlaskClient) -> None:
    page = furnished.get("/tasks/parts-v2?step=prepare").text
    assert page.count("<polyline") == 2 and "Facts of the step prepare" in page
    assert "No line was logged yet" in page
    assert f"{escape(MARKUP)} 2" in furnished.get("/tasks/parts-v2").text


def test_a_task_that_trains_says_how_long_it_may_take(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    with transaction(api_sessions) as session:
        task = tasks.get(session, 1, "parts-v2")
        advance(session, task.id, TaskState.PREPARING, TaskState.TRAINING)
        task.time_budget, task.trained_seconds = 600, 400.4
    assert "Training ends in 3 min 20 s at the latest" in furnished.get("/tasks/parts-v2").text
    assert "tasks before it: 0" in furnished.get("/tasks/parts-v1").text


def test_a_task_is_stopped_as_asked_for(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    assert "keeps nothing" in _post(furnished, "/tasks/parts-v2/stop", "/tasks/parts-v2", discard="yes")
    with api_sessions() as session:
        assert tasks.get(session, 1, "parts-v2").stop == "discard"
    assert "keeps the best" in _post(furnished, "/tasks/parts-v1/stop", "/tasks/parts-v1", discard="no")
    page = _post(furnished, "/tasks/parts-v1/stop", "/", discard="no")
    assert "there is nothing to stop" in page


def test_a_step_of_a_task_that_has_ended_is_opened_without_a_reload(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    with transaction(api_sessions) as session:
        advance(session, 2, TaskState.PREPARING, TaskState.FAILED)
    page = furnished.get("/tasks/parts-v2").text
    assert "running=yes" not in page
    opened = furnished.get("/tasks/parts-v2/live?step=prepare")
    assert "HX-Refresh" not in opened.headers and "Facts of the step prepare" in opened.text
    assert furnished.get("/tasks/parts-v2/live?step=&running=yes").headers["HX-Refresh"] == "true"


def test_a_model_has_its_metrics_matrix_and_plots(furnished: FlaskClient) -> None:
    page = furnished.get("/models/parts-v1").text
    assert "0.6 - 0.97" in page.replace("\u2013", "-") and "Confusion matrix" in page
    with furnished.get("/models/parts-v1/plots/confusion.png") as plot:
        assert (plot.status_code, plot.content_type) == (200, "image/png")
    assert furnished.get("/models/parts-v1/plots/manifest.json").status_code == 404
    assert '<a href="/datasets/parts">parts</a>' in page


def test_a_model_shows_both_files_and_which_is_served(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    tried = {"served": "int8", "reason": f"{MARKUP} faster", "bytes_fp32": 13_400_000, "seconds_int8": 0.0045}
    assert "fp32" not in furnished.get("/models/parts-v1").text
    with transaction(api_sessions) as session:
        session.scalars(select(Model)).one().facts = {"int8": tried}
    page = furnished.get("/models/parts-v1").text
    assert "13.4 MB" in page and "4.5 ms" in page and "int8 · served" in page
    assert "/onnx?precision=fp32" in page and "/onnx?precision=int8" not in page
    assert MARKUP not in page


def test_a_model_whose_store_does_not_answer_has_what_the_database_knows(
    app: Flask, furnished: FlaskClient
) -> None:
    for folder in (app.extensions["sightloop"].settings.data_dir / "excerpts").iterdir():
        folder.rename(folder.with_name("elsewhere"))
    page = furnished.get("/models/parts-v1")
    assert page.status_code == 200
    assert "127.0.0.1:9" in page.text and "0.875" in page.text
    assert furnished.get("/models/parts-v1/bundle").status_code == 502


def test_a_service_is_scaled_stopped_and_started(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    def post(path: str, **values: object) -> str:
        return _post(furnished, f"/services/check/{path}", "/services/check", **values)

    assert "is to have 2 instances" in post("scale", instances=2)
    assert "instances must be 1 to" in post("scale", instances="many")
    assert "Asked for: stop" in post("state", change="stop")
    assert "already" in post("state", change="stop")
    assert "Asked for: start" in post("state", change="start")
    assert "choose stop or start" in post("state", change="explode")
    assert "choose stop or start" in post("state", change="delete")  # that asks before
    with api_sessions() as session:
        assert services.get(session, 1, "check").desired == "running"


def test_a_new_token_is_shown_once_and_can_be_revoked(furnished: FlaskClient) -> None:
    page = _post(furnished, "/services/check/tokens", "/services/check")
    found = re.search(r"<code>([\w-]{60,})</code>", page)
    assert found is not None
    assert found[1] not in furnished.get("/services/check").text
    refused = _post(furnished, "/services/check/tokens/1/revoke", "/services/check")
    assert "only token" in refused


def test_a_dataset_of_text_shows_how_many_texts_an_image_has(
    furnished: FlaskClient, api_sessions: SessionFactory
) -> None:
    with transaction(api_sessions) as session:
        for image in session.scalars(select(Image)):
            image.label, image.regions = None, [{}, {}] if "/0-" in image.key else None
    shown = furnished.get("/datasets/parts").get_data(as_text=True)
    assert shown.count("<bdi>texts: 2</bdi>") == 3 and shown.count("<bdi>no label</bdi>") == 9
    assert 'name="label"' not in shown


BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
TOO_MUCH = "9" * 20


@pytest.mark.parametrize(
    "path", [f"/models?after={TOO_MUCH}", f"/tasks?after={TOO_MUCH}", f"/datasets/parts/images/{TOO_MUCH}"]
)
def test_a_number_that_no_database_can_hold_is_a_page_that_is_not_there(
    furnished: FlaskClient, path: str
) -> None:
    answer = furnished.get(path, headers=BROWSER)
    assert answer.status_code == 404 and "a number is out of range" in answer.text
    assert answer.mimetype == "text/html" and 'href="/"' in answer.text


def test_at_an_unknown_address_a_browser_gets_a_page_and_a_program_an_error(app: Flask) -> None:
    client = app.test_client()  # who has not signed in
    page = client.get(f"/no-such/{MARKUP}", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "There is no page at this address" in page.text and "openapi.json" not in page.text
    assert "script-src 'self'" in page.headers["Content-Security-Policy"] and page.headers["X-Request-Id"]
    for path, accept in (
        ("/no-such", "*/*"),
        ("/no-such", "application/json"),
        ("/api/v1/x", BROWSER["Accept"]),
    ):
        answer = client.get(path, headers={"Accept": accept})
        assert answer.mimetype == "application/problem+json", path


def test_what_nobody_foresaw_is_a_page_that_names_the_request(
    furnished: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("swordfish")

    monkeypatch.setattr("backend.models.registry.page", fail)
    page = furnished.get("/models", headers=BROWSER)
    assert page.status_code == 500 and "swordfish" not in page.text
    assert f"the API&#39;s log has it under {page.headers['X-Request-Id']}" in page.text
