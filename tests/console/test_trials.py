"""Links that let a phone test one model: making and revoking them, what they open, and what they do not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import click
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, select
from werkzeug.test import TestResponse

from backend.cli import models as cli_models
from backend.db import SessionFactory, now, transaction
from backend.models import registry as models
from backend.runtime import Runtime
from backend.services.tables import Service
from backend.storage import StoreAddress
from backend.trials import answering
from backend.trials.registry import MINUTES
from backend.trials.registry import path as path_of
from backend.trials.tables import Trial
from plugins import registry
from tests import servers
from tests.api.conftest import Caller
from tests.console.conftest import csrf_of, sign_in
from tests.console.trial_world import link_to, put_colours, put_reader, use_store
from tests.ml_backend.bundles import picture

PAGE = "/models/parts-v1/test"
BELOW = [
    ("GET", "/config"),
    ("GET", "/model"),
    ("GET", "/familiar"),
    ("POST", "/answers"),
    ("POST", "/pictures"),
]


@pytest.fixture
def owner(app: Flask, member: FlaskClient) -> FlaskClient:
    put_colours(app)
    return member


@pytest.fixture
def phone(app: Flask) -> FlaskClient:
    """A browser that has never signed in."""
    return app.test_client()


@pytest.fixture(scope="session")
def store() -> Iterator[StoreAddress]:
    yield from servers.object_store()


def _make(owner: FlaskClient, **values: str) -> str:
    """The path of a link made by the form."""
    form = {"csrf_token": csrf_of(owner.get(PAGE).text), "minutes": "60", **values}
    made = owner.post(PAGE, data=form, follow_redirects=True).text
    assert "The link is made" in made
    return str(re.findall(r'href="(/try/[^"]+)"', made)[0])


def _change(sessions: SessionFactory, **values: object) -> None:
    with transaction(sessions) as session:
        for name, value in values.items():
            setattr(session.scalars(select(Trial)).one(), name, value)


def test_the_model_page_leads_to_a_link_with_its_qr_code(owner: FlaskClient, phone: FlaskClient) -> None:
    assert f'href="{PAGE}"' in owner.get("/models/parts-v1").text
    assert "<svg" not in owner.get(PAGE).text
    link = _make(owner)
    response = phone.get(link)
    assert response.status_code == 200 and "Test of parts-v1" in response.text
    assert "Set-Cookie" not in response.headers


def test_a_code_is_drawn_only_for_an_address_that_phones_reach(app: Flask, owner: FlaskClient) -> None:
    _make(owner)
    page = owner.get(PAGE).text
    assert "it listens for this machine alone" in page and 'class="qr"' not in page
    for phone_url, warned in (("http://192.168.1.7:8700", True), ("https://192.168.1.7:8712", False)):
        app.extensions["sightloop"] = Runtime(
            replace(app.extensions["sightloop"].settings, phone_url=phone_url)
        )
        page = owner.get(PAGE).text
        assert f"{phone_url}/try/" in page and 'class="qr"' in page
        assert ("no camera" in page) is warned


def test_a_time_that_is_not_offered_is_refused(owner: FlaskClient) -> None:
    form = {"csrf_token": csrf_of(owner.get(PAGE).text), "minutes": "99999"}
    assert "choose one of these" in owner.post(PAGE, data=form, follow_redirects=True).text


def test_command_line_and_page_offer_the_times_that_there_are(owner: FlaskClient) -> None:
    offered = re.findall(r'<option value="(\d+)"', owner.get(PAGE).text)
    options = {option.name: option.type for option in cli_models.test.params}
    assert isinstance(options["minutes"], click.Choice)
    assert list(options["minutes"].choices) == offered == [str(minutes) for minutes in MINUTES]


def _refusal(phone: FlaskClient, link: str, status: int) -> str:
    """Nothing below the link answers, and the page says why in a sentence."""
    for method, path in BELOW:
        assert phone.open(link + path, method=method, data=b"x").status_code == status, path
    response = phone.get(link)
    assert response.status_code == status and "This link opens nothing" in response.text
    return response.text


def test_an_expired_link_opens_nothing(
    app: Flask, owner: FlaskClient, phone: FlaskClient, api_sessions: SessionFactory
) -> None:
    link = _make(owner)
    _change(api_sessions, expires_at=now() - timedelta(seconds=1))
    with api_sessions() as session:
        expired = path_of(app.extensions["sightloop"].settings, session.scalars(select(Trial)).one())
    assert "has expired" in _refusal(phone, expired, 410)
    assert link not in owner.get(PAGE).text


def test_a_revoked_link_opens_nothing(owner: FlaskClient, phone: FlaskClient) -> None:
    link = _make(owner)
    page = owner.get(PAGE).text
    revoke = re.findall(rf'action="({PAGE}/\d+/revoke)"', page)[0]
    assert "is revoked" in owner.post(revoke, data={"csrf_token": csrf_of(page)}, follow_redirects=True).text
    assert "was revoked" in _refusal(phone, link, 410)


def test_the_link_of_a_deleted_model_opens_nothing(
    app: Flask, owner: FlaskClient, phone: FlaskClient
) -> None:
    link = _make(owner)
    with transaction(app.extensions["sightloop"].sessions) as session:
        session.execute(delete(Service))
        models.delete(session, models.get(session, 1, "parts-v1"))
    assert "was deleted" in _refusal(phone, link, 410)


@pytest.mark.parametrize("change", ["forged", "cut", "long", "other"])
def test_a_changed_link_opens_nothing(owner: FlaskClient, phone: FlaskClient, change: str) -> None:
    link = _make(owner)
    start, _, signature = link.rpartition(".")
    changed = {
        "forged": f"{start}.{signature[::-1]}",
        "cut": link[:-5],
        "long": link + "x" * 5000,
        "other": f"/try/WzIsOTk5OTk5OTk5OV0.{signature}",  # [2,9999999999]
    }[change]
    assert "not whole or was changed" in _refusal(phone, changed, 404)


def test_a_link_opens_nothing_else_of_the_workspace(owner: FlaskClient, phone: FlaskClient) -> None:
    link = _make(owner)
    page = phone.get(link).text
    assert "/models" not in page and "/datasets" not in page and "factory" not in page
    for path in ("/", "/models/parts-v1", "/models/parts-v1/onnx", PAGE):
        assert phone.get(path).headers["Location"].startswith("/sign-in")
    assert phone.get("/api/v1/models").status_code == 401
    assert phone.get(f"{link}/../../models").status_code in (302, 404)


def test_a_member_of_another_workspace_makes_and_revokes_no_link(app: Flask, stranger: Caller) -> None:
    put_colours(app)
    link = link_to(app)
    with app.test_client() as client:
        sign_in(client, stranger.token)
        form = {"csrf_token": csrf_of(client.get("/").text), "minutes": "60"}
        assert client.get(PAGE).status_code == 404
        assert client.post(PAGE, data=form).status_code == 404
        assert client.post(f"{PAGE}/1/revoke", data=form).status_code == 404
        assert client.get(link).status_code == 200


def test_only_this_page_may_compile_webassembly_and_nobody_learns_its_address(
    owner: FlaskClient, phone: FlaskClient
) -> None:
    response = phone.get(_make(owner))
    policy = response.headers["Content-Security-Policy"]
    assert "'wasm-unsafe-eval'" in policy and "'unsafe-" not in policy and "form-action 'none'" in policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    assert "wasm" not in owner.get(PAGE).headers["Content-Security-Policy"]


def test_the_server_answers_a_picture(owner: FlaskClient, phone: FlaskClient) -> None:
    link = _make(owner)
    answer = phone.post(f"{link}/answers", data=picture("lime", (40, 30))).get_json()
    assert answer["outputs"][0]["label"] == "green"
    assert (answer["width"], answer["height"]) == (40, 30) and answer["decision"] is None


@pytest.mark.parametrize(
    "data, status, sentence",
    [
        (b"", 415, "the file is empty"),
        (b"GIF89a", 415, "not a JPEG, PNG, BMP or WEBP image"),
        (picture("red")[:60], 415, "cannot be read"),
        (picture("red", (2001, 2000)), 415, "at most 4,000,000 are read"),  # a small file of many pixels
        (b"x" * (2 * 1024**2 + 1), 413, "larger than 2 MiB"),
        (picture("black"), 422, "the model has no answer for this picture"),
    ],
)
def test_a_picture_without_an_answer_has_a_sentence(
    owner: FlaskClient, phone: FlaskClient, data: bytes, status: int, sentence: str
) -> None:
    response = phone.post(f"{_make(owner)}/answers", data=data)
    assert response.status_code == status and sentence in response.get_json()["detail"]


def test_a_link_has_its_share_of_pictures_a_minute(
    owner: FlaskClient, phone: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering, "PICTURES_A_MINUTE", 2)
    link, other = _make(owner), _make(owner, minutes="15")
    # Five, as another minute may begin between them.
    answers = [phone.post(f"{link}/answers", data=picture("red")) for _ in range(5)]
    statuses = [answer.status_code for answer in answers]
    assert statuses[:2] == [200, 200] and 429 in statuses
    assert 1 <= int(answers[statuses.index(429)].headers["Retry-After"]) <= 60
    assert phone.post(f"{other}/answers", data=picture("red")).status_code == 200


@pytest.fixture
def reading(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that keeps the model `parts-v1` from opening while it is there."""
    monkeypatch.setitem(registry.BUILTIN, "reading", "tests.ml_backend.reading_plugin:PLUGIN")
    registry.forget()
    put_reader(app)
    yield app.extensions["sightloop"].settings.data_dir / "no-such-file"
    registry.forget()


def test_only_a_few_pictures_wait_and_the_others_are_refused_at_once(app: Flask, reading: Path) -> None:
    link = link_to(app)
    reading.touch()

    def send(_: int) -> TestResponse:
        return app.test_client().post(f"{link}/answers", data=picture("red"))

    with ThreadPoolExecutor(answering.AT_ONCE + 1) as pool:
        sent = [pool.submit(send, number) for number in range(answering.AT_ONCE + 1)]
        first = next(as_completed(sent)).result()
        reading.unlink()
    assert first.status_code == 429 and int(first.headers["Retry-After"]) >= 1
    assert "busy with other pictures" in first.get_json()["detail"]
    assert sorted(one.result().status_code for one in sent) == [200] * answering.AT_ONCE + [429]


def test_pictures_come_back_only_where_the_owner_allowed_it(owner: FlaskClient, phone: FlaskClient) -> None:
    link = _make(owner)
    assert "wrong" not in phone.get(link).text
    response = phone.post(f"{link}/pictures", data=picture("red"))
    assert response.status_code == 403 and "did not allow" in response.get_json()["detail"]


def test_a_wrong_answer_becomes_a_new_image_of_the_dataset_without_a_label(
    app: Flask, owner: FlaskClient, phone: FlaskClient, store: StoreAddress
) -> None:
    kept = use_store(app, store, "trials")
    link = _make(owner, collects="yes")
    data = picture("red", form="JPEG")
    names = [phone.post(f"{link}/pictures", data=data).get_json()["name"] for _ in range(2)]
    found = {item.key for item in kept.list("trials", "back/")}
    assert found == {f"back/{name}" for name in names} and len(found) == 2
    assert kept.read("trials", f"back/{names[0]}", 10**6) == data
    assert "Pictures sent back: 2" in owner.get(PAGE).text
    assert "sync" in owner.get("/datasets/parts").text
    for data in (b"GIF89a", picture("red", (2001, 2000))):
        assert phone.post(f"{link}/pictures", data=data).status_code == 415
    assert len(list(kept.list("trials", "back/"))) == 2


def test_a_phone_gets_the_file_that_services_run(owner: FlaskClient, phone: FlaskClient) -> None:
    link = _make(owner)
    config = phone.get(f"{link}/config").get_json()
    assert config["device"]["labels"] == ["red", "green", "blue"] and config["device"]["side"] == 8
    assert config["reads"] is False and config["collects"] is False
    with phone.get(f"{link}/model") as response:
        assert len(response.data) > 100 and response.headers["Cache-Control"] == "private, max-age=86400"
    assert phone.get(f"{link}/familiar").status_code == 404


def test_a_bundle_that_is_gone_is_said_by_the_page_in_a_sentence(
    app: Flask, owner: FlaskClient, phone: FlaskClient
) -> None:
    folder = app.extensions["sightloop"].settings.data_dir / "trials"
    folder.rename(folder.with_name("elsewhere"))
    response = phone.get(f"{link_to(app)}/config")
    assert response.status_code == 502 and "127.0.0.1:9" in response.get_json()["detail"]
