"""The images behind a model's numbers, and two models side by side."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from backend.console import services
from backend.console.judging import chance
from backend.db import transaction
from backend.models.tables import Model
from backend.runtime import Runtime
from plugins import answers, bundle
from plugins.contract import Judged
from tests.api.conftest import Caller
from tests.console.conftest import _MANIFEST, MARKUP, RTL, csrf_of, furnish, sign_in
from tests.console.test_front import _check, _sign_in, _watched

_COMPARE = "/models/parts-v1/compare?other=parts-v9"


@pytest.fixture
def furnished(app: Flask, member: FlaskClient) -> FlaskClient:
    """Beside parts-v1, whose answers are those of `furnish`, another model that errs elsewhere."""
    furnish(app)
    runtime: Runtime = app.extensions["sightloop"]
    folder = runtime.settings.data_dir / "excerpts" / "other"
    folder.mkdir()
    rows = [(MARKUP, 0.6), (RTL, 0.95), (MARKUP, 0.7)]
    given = [
        Judged(f"{MARKUP}/0-{number}.jpg", MARKUP, answer, conf, answer == MARKUP)
        for number, (answer, conf) in enumerate(rows)
    ]
    answers.write(folder, given)
    manifest = bundle.write(folder, replace(_MANIFEST, name="parts-v9")).manifest
    folder.rename(folder.with_name(manifest.digest))
    with transaction(runtime.sessions) as session:
        first = session.get_one(Model, 1)
        kept = {name: getattr(first, name) for name in ("workspace_id", "task_id", "dataset_id", "plugin")}
        session.add(
            Model(
                **kept,
                name="parts-v9",
                algorithm=first.algorithm,
                digest=manifest.digest,
                size=1,
                labels=first.labels,
                metrics={"accuracy": 0.9, "log_loss": 0.5, "examples": 3},
                facts={},
                snapshot="6" * 64,
            )
        )
    return member


def test_a_cell_of_the_matrix_opens_its_images(furnished: FlaskClient) -> None:
    page = furnished.get("/models/parts-v1").text
    query = urlencode({"truth": MARKUP, "answer": RTL})
    assert f"/models/parts-v1/answers?{query.replace('&', '&amp;')}" in page
    cell = furnished.get(f"/models/parts-v1/answers?{query}").text
    assert cell.count('<a class="framed"') == 1 and "(0.90)" in cell
    assert MARKUP not in cell and escape(MARKUP) in cell
    every = furnished.get("/models/parts-v1/answers").text
    assert every.count("<dl>") == 5
    assert "measured on no such image" in furnished.get("/models/parts-v1/answers?truth=screw").text


def test_the_worst_mistakes_are_shown_with_truth_and_answer(furnished: FlaskClient) -> None:
    page = furnished.get("/models/parts-v1").text
    assert "Worst mistakes" in page and page.count('<a class="framed"') == 1
    assert f"<dd><bdi>{escape(MARKUP)}</bdi></dd>" in page


def test_an_image_that_is_not_known_any_more_costs_no_page(furnished: FlaskClient, app: Flask) -> None:
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        session.connection().exec_driver_sql("DELETE FROM images")
    for path in ("/models/parts-v1", "/models/parts-v1/answers", _COMPARE):
        page = furnished.get(path)
        assert page.status_code == 200 and 'class="framed"' not in page.text
        assert escape(f"{MARKUP}/0-0.jpg") in page.text


def test_two_models_are_compared_number_by_number_and_image_by_image(furnished: FlaskClient) -> None:
    page = furnished.get(_COMPARE).text
    assert "measured on different snapshots" in page
    assert "+0.025" in page and "+0.19" in page
    assert page.count("state-green") == 1 and page.count("state-red") == 1
    assert "3 images measured by both: parts-v1 is right on 2, parts-v9 on 2. That may be chance" in page
    assert "Better with parts-v9: 1 images" in page and "Worse with parts-v9: 1 images" in page
    assert page.count('<a class="framed"') == 2 and MARKUP not in page
    assert "No image was measured by both" not in page


def test_a_difference_that_is_hardly_chance_is_called_so() -> None:
    assert chance(0.03) == "That is hardly chance: between equally good models its probability is 0.03."
    assert "hardly chance" in chance(1e-9) and "less than 0.001." in chance(1e-9)


def test_a_service_is_given_another_model(furnished: FlaskClient) -> None:
    def ask(model: str) -> str:
        form = {"csrf_token": csrf_of(furnished.get("/services/check").text), "model": model}
        return furnished.post("/services/check/model", data=form, follow_redirects=True).text

    page = furnished.get("/services/check").text
    assert '<option value="parts-v1" selected>' in page and '<option value="parts-v9">' in page
    assert "there is no model" in ask("nothing")
    page = ask("parts-v9")
    assert "check is to serve model parts-v9" in page
    assert '<option value="parts-v9" selected>' in page and 'href="/models/parts-v9"' in page


def test_a_service_offers_its_own_model_however_old(
    furnished: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_MODELS", 1)
    page = furnished.get("/services/check").text
    assert '<option value="parts-v1" selected>' in page and '<option value="parts-v9">' in page


def test_the_api_compares_image_by_image(furnished: FlaskClient, admin: Caller) -> None:
    found = admin("GET", "/models/parts-v1/compare/parts-v9/images").get_json()
    assert (found["images"], found["right"]) == (3, [2, 2])
    assert found["p_value"] == 1.0
    assert [flip["key"] for flip in found["better"]] == [f"{MARKUP}/0-0.jpg"]
    assert [flip["after"][0]["answer"] for flip in found["worse"]] == [RTL]
    metrics = admin("GET", "/models/parts-v1/compare/parts-v9").get_json()["metrics"]
    assert (metrics["accuracy"]["favours"], metrics["log_loss"]["favours"]) == (1, -1)
    some = admin("GET", "/models/parts-v1/answers?limit=3").get_json()
    assert (len(some["items"]), some["next"]) == (3, 3)
    rest = admin("GET", "/models/parts-v1/answers?limit=3&after=3").get_json()
    assert (len(rest["items"]), rest["next"]) == (2, None)
    levels = admin("GET", "/models/parts-v1/levels").get_json()["items"]
    assert levels[50] == {"confidence": 0.5, "answered": 0.8, "precision": 0.75, "recall": 0.6}


def test_a_stranger_sees_and_compares_nothing(furnished: FlaskClient, app: Flask, stranger: Caller) -> None:
    with app.test_client() as client:
        sign_in(client, stranger.token)
        for path in ("/models/parts-v1/answers", _COMPARE):
            assert client.get(path).status_code == 404
    for path in ("answers", "levels", "compare/parts-v9/images"):
        assert stranger("GET", f"/models/parts-v1/{path}").status_code == 404


@pytest.mark.parametrize("other", ["", "nothing", "parts-v2", "../x"])
def test_a_model_that_is_not_there_cannot_be_compared(furnished: FlaskClient, other: str) -> None:
    page = furnished.get(f"/models/parts-v1/compare?{urlencode({'other': other})}")
    assert page.status_code == 404 and "there is no model" in page.text


def test_without_the_store_the_numbers_are_still_compared(furnished: FlaskClient, app: Flask) -> None:
    runtime: Runtime = app.extensions["sightloop"]
    for folder in (runtime.settings.data_dir / "excerpts").iterdir():
        folder.rename(folder.with_name(f"x{folder.name}"))
    page = furnished.get(_COMPARE)
    assert page.status_code == 200 and "+0.025" in page.text and "127.0.0.1:9" in page.text


def test_the_slider_shows_the_shares_of_each_confidence(
    furnished: FlaskClient, address: str, browser: Browser
) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = _watched(page)
    _sign_in(page, address)
    page.goto(f"{address}/models/parts-v1")
    slider = page.get_by_role("slider", name="Confidence")
    assert page.locator("[data-name=answered]").inner_text() == "60.0 %"
    slider.focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    assert page.locator("output").inner_text() == "0.95"
    shown = [page.locator(f"[data-name={n}]").inner_text() for n in ("answered", "precision", "recall")]
    assert shown == ["20.0 %", "100.0 %", "20.0 %"]
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("3 images measured by both").wait_for()
    _check(page)
    assert errors == []
    page.close()
