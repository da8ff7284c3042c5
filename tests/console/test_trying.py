"""Trying a service with an image from its page: a real service, and everything that may be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from backend.db import SessionFactory, transaction
from backend.runtime import Runtime
from backend.services import asking, registry, tokens
from backend.services.asking import Reply
from backend.services.tables import Service
from model_server.config import Token
from tests.api.conftest import Caller
from tests.console.conftest import MARKUP, csrf_of, furnish, sign_in
from tests.console.test_front import _check, _sign_in, _watched
from tests.model_server.bundles import make_bundle, picture
from tests.model_server.conftest import hold, plugins_folder
from tests.model_server.servers import Server, running

__all__ = ["hold", "plugins_folder"]
_PAGE = "/services/check"


@pytest.fixture
def served(
    app: Flask, furnished: FlaskClient, tmp_path: Path, plugins_folder: Path, hold: Path
) -> Iterator[Server]:
    """The service is up; it knows only the console's token."""
    runtime: Runtime = app.extensions["sightloop"]
    bundle = make_bundle(tmp_path / "bundle", hold, can_explain=True)
    own = Token("0", **asking.hashes(asking.own_token(runtime.settings, 1)))
    with running(tmp_path / "service", plugins_folder, bundle, name="check", tokens=(own,)) as server:
        _say_running(runtime.sessions, f"{server.url}/api/predict/check")
        yield server


def _say_running(sessions: SessionFactory, endpoint: str) -> None:
    with transaction(sessions) as session:
        service = session.get_one(Service, 1)
        service.state, service.ready_instances, service.endpoint = "Running", 1, endpoint


def _try(client: FlaskClient, image: bytes | None, **values: Any) -> str:
    form = {"csrf_token": csrf_of(client.get(_PAGE).text), **values}
    if image is not None:
        form["image"] = (BytesIO(image), "photo.png")
    response = client.post(f"{_PAGE}/try", data=form, headers={"HX-Request": "true"})
    assert response.status_code == 200
    assert "<html" not in response.text
    return response.text


def test_an_image_gets_its_classes_and_the_decision(served: Server, furnished: FlaskClient) -> None:
    answer = _try(furnished, picture("red"))
    shown = re.findall(r"<bdi>(\w+@1)</bdi><span>([\d.]+) %</span>", answer)
    assert len(shown) == 3 and shown[0][0] == "red@1"
    assert "It acts on: red@1" in answer and "answered by colours1" in answer
    assert 'src="data:image/jpeg;base64,' in answer
    assert "It is not sure" in _try(furnished, picture("blue"))


def test_what_the_answer_rests_on_is_drawn_when_asked_for(served: Server, furnished: FlaskClient) -> None:
    assert "Orange speaks for red@1" in _try(furnished, picture("red"), explain="yes")
    assert "Orange speaks" not in _try(furnished, picture("red"))


def test_without_scripts_the_answer_stands_in_the_whole_page(served: Server, furnished: FlaskClient) -> None:
    form = {"csrf_token": csrf_of(furnished.get(_PAGE).text), "image": (BytesIO(picture("red")), "a.png")}
    page = furnished.post(f"{_PAGE}/try", data=form).text
    assert "It acts on: red@1" in page and "<html" in page and "Call it" in page


def test_the_services_own_refusal_is_shown_with_its_number(served: Server, furnished: FlaskClient) -> None:
    answer = _try(furnished, b"no image at all")
    assert "(1002)" in answer and 'role="alert"' in answer and "data:image" not in answer


def test_it_works_though_every_token_of_the_users_is_another(
    served: Server, furnished: FlaskClient, app: Flask
) -> None:
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        made = tokens.issue(session, runtime.sealer, registry.get(session, 1, "check"))
    assert "red@1" in _try(furnished, picture("red"))
    with served.client() as client:
        refused = client.post(
            "/api/predict/check", json={"dataArray": []}, headers={"Authorization": made.text}
        )
        assert refused.status_code == 401


def test_no_image_or_one_too_large_is_refused(
    furnished: FlaskClient, api_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say_running(api_sessions, "http://127.0.0.1:9/api/predict/check")
    assert "choose an image first" in _try(furnished, None)
    assert "choose an image first" in _try(furnished, b"")
    monkeypatch.setattr(asking, "MAX_IMAGE_BYTES", 10)
    assert "send a smaller one" in _try(furnished, picture("red"))


def test_a_body_beyond_all_bounds_is_not_read(furnished: FlaskClient) -> None:
    form = {"content_type": "multipart/form-data; boundary=x"}
    assert furnished.post(f"{_PAGE}/try", data=b"x" * (21 * 1024**2), **form).status_code == 413
    assert furnished.post(f"{_PAGE}/scale", data=b"x" * 3_000_000, **form).status_code == 413


def test_a_service_that_does_not_run_or_answer_says_so(
    furnished: FlaskClient, api_sessions: SessionFactory, app: Flask
) -> None:
    assert "has no instance that could answer" in _try(furnished, picture("red"))
    _say_running(api_sessions, "http://127.0.0.1:9/api/predict/check")
    answer = _try(furnished, picture("red"))
    assert "does not answer at http://127.0.0.1:9" in answer
    assert 'src="data:image/jpeg;base64,' in answer


def test_a_stranger_finds_no_service_to_try(app: Flask, stranger: Caller) -> None:
    furnish(app)
    with app.test_client() as client:
        sign_in(client, stranger.token)
        form = {"csrf_token": csrf_of(client.get("/").text), "image": (BytesIO(picture("red")), "a.png")}
        assert client.post(f"{_PAGE}/try", data=form).status_code == 404


def test_texts_are_listed_and_drawn_at_their_places(
    furnished: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = [[0.1, 0.2], [0.5, 0.2], [0.5, 0.4], [0.1, 0.4]]
    outputs = [{"label": MARKUP, "conf": 0.9, "pos": place}, {"label": "12.50", "conf": 0.5, "pos": place}]
    monkeypatch.setattr(asking, "predict", lambda *_, **__: Reply("reader", 0.01, {"output": outputs}))
    answer = _try(furnished, picture("white", (200, 100)))
    assert answer.count('<polygon points="20.0,20.0 100.0,20.0 100.0,40.0 20.0,40.0"') == 2
    assert MARKUP not in answer and answer.count(escape(MARKUP)) == 2 and "12.50" in answer
    monkeypatch.setattr(asking, "predict", lambda *_, **__: Reply("reader", 0.01, {"output": []}))
    assert "Nothing was found" in _try(furnished, picture("white"))


def test_choosing_a_file_is_enough(
    served: Server, furnished: FlaskClient, address: str, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "red.png").write_bytes(picture("red"))
    (tmp_path / "large.png").write_bytes(picture("red") + b"x" * asking.MAX_IMAGE_BYTES)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = _watched(page)
    _sign_in(page, address)
    page.goto(address + _PAGE)
    page.get_by_label("An image").set_input_files(tmp_path / "red.png")
    page.get_by_text("It acts on: red@1").wait_for()
    _check(page)
    page.get_by_label("An image").set_input_files(tmp_path / "large.png")
    page.get_by_text("send a smaller one").wait_for()
    assert errors == []
    page.close()
