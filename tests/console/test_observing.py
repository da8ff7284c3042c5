"""Figures, curves and log on the page of a service."""

from __future__ import annotations

from datetime import timedelta
from html import escape

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser

from backend.db import SessionFactory, now, transaction
from backend.services import asking
from backend.services.tables import ServiceSample
from tests.api.conftest import Caller
from tests.console.conftest import MARKUP, furnish, sign_in
from tests.console.test_front import _check, _sign_in, _watched


def _note(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        for minutes in (300, 50, 40, 30, 20):
            requests = {"0": 1000 - 3 * minutes, "1001": 2 if minutes == 20 else 0}
            session.add(
                ServiceSample(
                    service_id=1,
                    at=now() - timedelta(minutes=minutes),
                    requests=requests,
                    seconds=0.01 * requests["0"],
                    buckets={"0.01": requests["0"] // 2, "0.02": requests["0"], "+Inf": requests["0"]},
                )
            )


def test_the_use_is_shown_as_figures_and_curves(furnished: FlaskClient, api_sessions: SessionFactory) -> None:
    assert "Nothing is known yet" in furnished.get("/services/check/usage").text
    _note(api_sessions)
    hour, day = (furnished.get(f"/services/check/usage?span={span}").text for span in ("hour", "day"))
    assert ">92<" in hour and "1001: 2" in hour and hour.count('class="chart"') == 2
    assert ">842<" in day and "19 ms" in day


def test_the_api_tells_the_same(
    admin: Caller, stranger: Caller, app: Flask, api_sessions: SessionFactory
) -> None:
    furnish(app)
    _note(api_sessions)
    found = admin("GET", "/services/check/usage?minutes=60").get_json()
    assert (found["requests"], found["errors"], found["codes"]) == (92, 2, {"1001": 2})
    assert [part["requests"] for part in found["parts"]] == [30, 30, 32]
    assert found["parts"][0]["at"] < found["parts"][1]["at"]
    assert admin("GET", "/services/check/usage?minutes=0").status_code == 422
    for path in ("/services/check/usage", "/services/check/logs"):
        assert stranger("GET", path).status_code == 404
    assert admin("GET", "/services/check/logs").get_json()["code"] == "wrong_state"


def test_the_log_is_shown_newest_first_and_as_text(
    furnished: FlaskClient, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no instance that could answer" in furnished.get("/services/check/log").text
    lines = [f'{{"event": "first {MARKUP}", "level": "info"}}', '{"event": "second", "ms": 3}', MARKUP]
    monkeypatch.setattr(asking, "log_lines", lambda *_: lines)
    shown = furnished.get("/services/check/log").text
    assert MARKUP not in shown and shown.count(escape(MARKUP)) == 2
    assert shown.index("second") < shown.index("first") and "ms=3" in shown
    items = admin("GET", "/services/check/logs?lines=2").get_json()["items"]
    assert [item["message"] for item in items] == ["second", MARKUP]


@pytest.mark.parametrize("part", ["usage", "log"])
def test_a_stranger_sees_neither(app: Flask, stranger: Caller, part: str) -> None:
    furnish(app)
    with app.test_client() as client:
        sign_in(client, stranger.token)
        assert client.get(f"/services/check/{part}").status_code == 404


def test_curves_are_drawn_in_the_browser(
    app: Flask, furnished: FlaskClient, api_sessions: SessionFactory, address: str, browser: Browser
) -> None:
    _note(api_sessions)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    errors = _watched(page)
    _sign_in(page, address)
    page.goto(f"{address}/services/check")
    page.locator(".chart canvas").first.wait_for()
    page.get_by_role("button", name="Last day").click()
    page.get_by_role("button", name="Last day", pressed=True).wait_for()
    page.locator(".chart canvas").nth(1).wait_for()
    page.get_by_text("no instance that could answer").wait_for()
    _check(page)
    assert errors == []
    page.close()
