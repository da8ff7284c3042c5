"""The pages in a real browser: drawn, without an error, accessible, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page

from backend.datasets.tables import Image
from backend.db import SessionFactory, now, transaction
from backend.services import asking
from backend.services import registry as services
from backend.training import records
from backend.training.lifecycle import TaskState, advance
from tests.api.conftest import ADMIN
from tests.console import driving
from tests.console.conftest import furnish

PAGES = [
    "/",
    "/datasets",
    "/datasets/parts?finding=few_images",
    "/datasets/parts/images/1",
    "/datasets/parts/delete",
    "/tasks",
    "/tasks/parts-v2?step=prepare",
    "/models",
    "/models/parts-v1",
    "/models/parts-v1/test",
    "/services",
    "/services/check",
    "/services/check/delete",
    "/members",
    "/account",
    "/account/password",
    "/storage",
    "/storage/default",
    "/storage/store",
    "/new/storage",
    "/new/dataset",
    "/new/task?dataset=parts&algorithm=classification-high-performance",
    "/new/service",
]
_STATES = (
    TaskState.PREPARING,
    TaskState.TRAINING,
    TaskState.EVALUATING,
    TaskState.EXPORTING,
    TaskState.SUCCEEDED,
)
# The tests' object store does not answer, so the gallery's pictures do not load.
_EXPECTED = "the server responded with a status of 502"


@pytest.fixture
def furnished(app: Flask, address: str) -> str:
    furnish(app)
    return address


def _sign_in(page: Page, address: str) -> None:
    driving.sign_in(page, address, ADMIN)


def _watched(page: Page) -> list[str]:
    return driving.watched(page, _EXPECTED)


def _check(page: Page) -> None:
    driving.check(page)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_drawn_accessible_and_without_errors(
    furnished: str, browser: Browser, scheme: Literal["light", "dark"], width: int
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    errors = _watched(page)
    page.goto(furnished)
    assert page.locator("html").get_attribute("data-bs-theme") == scheme
    _check(page)
    _sign_in(page, furnished)
    for path in PAGES:
        page.goto(furnished + path)
        _check(page)
    assert errors == []
    page.close()


def test_a_running_task_refreshes_itself_until_the_session_ends(
    app: Flask, furnished: str, page: Page
) -> None:
    errors = _watched(page)
    _sign_in(page, furnished)
    page.goto(f"{furnished}/tasks/parts-v2")
    with page.expect_response(
        lambda response: response.url.endswith("/tasks/parts-v2/live?step=&running=yes")
    ):
        pass
    page.context.clear_cookies()
    page.wait_for_url(f"{furnished}/sign-in")
    assert errors == []


def test_a_services_address_appears_in_the_lines_that_call_it(
    furnished: str, page: Page, api_sessions: SessionFactory
) -> None:
    errors = _watched(page)
    with transaction(api_sessions) as session:
        services.get(session, 1, "check").endpoint = ""
    _sign_in(page, furnished)
    page.goto(f"{furnished}/services/check")
    lines = page.locator("pre", has_text="curl -s")
    assert "curl -s http://ENDPOINT -H" in lines.inner_text()
    with transaction(api_sessions) as session:
        services.get(session, 1, "check").endpoint = "http://factory:8720"
    page.locator("pre", has_text="curl -s http://factory:8720 -H").wait_for()
    assert page.locator("pre", has_text="urllib").inner_text().count('"http://factory:8720"') == 1
    page.locator("#live[hx-get$=called]").wait_for()  # what stands is not brought again
    assert errors == []


def _log(sessions: SessionFactory, *messages: str) -> None:
    with transaction(sessions) as session:
        rows = [{"task_id": 2, "step": "train", "at": now(), "message": message} for message in messages]
        records.add_logs(session, rows)


def _top(page: Page, message: str) -> float:
    """Pixels from the top of the log's box down to a line."""
    return float(
        page.evaluate(
            """(message) => {
                const log = document.getElementById("log-lines");
                const line = [...log.children].find((one) => one.textContent.trimEnd().endsWith(message));
                return line.offsetTop - log.scrollTop;
            }""",
            message,
        )
    )


def _scroll(page: Page, top: float) -> None:
    page.locator("#log-lines").evaluate("(log, top) => { log.scrollTop = top; }", top)


def test_a_log_that_is_read_stays_in_its_place_while_lines_come(
    furnished: str, page: Page, api_sessions: SessionFactory
) -> None:
    _log(api_sessions, *(f"epoch {number}." for number in range(300)))  # the page shows the last 200
    _sign_in(page, furnished)
    page.goto(f"{furnished}/tasks/parts-v2")
    page.locator("#log-lines").focus()
    _scroll(page, 1000)
    before = _top(page, "epoch 150.")
    _log(api_sessions, *(f"later {number}." for number in range(20)))
    page.get_by_text("later 19.").wait_for()
    assert abs(_top(page, "epoch 150.") - before) < 2
    assert page.evaluate("document.activeElement.id") == "log-lines"


def test_a_log_at_its_end_follows_the_lines_that_come(
    furnished: str, page: Page, api_sessions: SessionFactory
) -> None:
    _log(api_sessions, *(f"epoch {number}." for number in range(100)))
    _sign_in(page, furnished)
    page.goto(f"{furnished}/tasks/parts-v2")
    _scroll(page, 100_000)
    _log(api_sessions, *(f"later {number}." for number in range(20)))
    page.get_by_text("later 19.").wait_for()
    height = page.locator("#log-lines").evaluate("(log) => log.clientHeight")
    assert 0 < _top(page, "later 19.") < height


def test_what_is_selected_in_a_log_stays_selected_while_lines_come(
    furnished: str, page: Page, api_sessions: SessionFactory
) -> None:
    _sign_in(page, furnished)
    page.goto(f"{furnished}/tasks/parts-v2")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('#log-lines > span'))")
    _log(api_sessions, "a later line")
    page.evaluate(
        """new Promise((twice) => {
            let times = 0;
            addEventListener("htmx:beforeRequest", () => { if (++times === 2) twice(); });
        })"""
    )
    assert "train" in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().removeAllRanges()")
    page.get_by_text("a later line").wait_for()


def test_a_log_with_the_newest_line_first_stays_in_its_place_or_shows_that_line(
    furnished: str, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f'{{"event": "request {number}."}}' for number in range(100)]
    monkeypatch.setattr(asking, "log_lines", lambda *_: list(lines))
    _sign_in(page, furnished)
    page.goto(f"{furnished}/services/check")
    page.get_by_text("request 99.").wait_for()
    lines.append('{"event": "request 100."}')
    page.get_by_text("request 100.").wait_for()
    assert 0 <= _top(page, "request 100.") < 30
    _scroll(page, 300)
    before = _top(page, "request 80.")
    lines.append('{"event": "request 101."}')
    page.get_by_text("request 101.").wait_for(state="attached")
    assert abs(_top(page, "request 80.") - before) < 2


def test_a_task_that_ends_has_its_model_on_the_page_and_no_button_to_stop_it(
    furnished: str, page: Page, api_sessions: SessionFactory
) -> None:
    _sign_in(page, furnished)
    page.goto(f"{furnished}/tasks/parts-v2")
    page.get_by_role("button", name="Stop").first.wait_for()
    with transaction(api_sessions) as session:
        for old, new in pairwise(_STATES):
            advance(session, 2, old, new)
    page.get_by_role("link", name="Open the model").wait_for()
    assert page.get_by_role("button", name="Stop").count() == 0


def test_the_button_of_a_service_follows_what_others_ask_for(
    furnished: str, page: Page, api_sessions: SessionFactory
) -> None:
    _sign_in(page, furnished)
    page.goto(f"{furnished}/services/check")
    page.get_by_role("button", name="Stop", exact=True).wait_for()
    with transaction(api_sessions) as session:
        services.stop(session, services.get(session, 1, "check"))
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_text("Asked for: start").wait_for()


def test_a_model_is_deployed_by_clicks_alone(furnished: str, page: Page) -> None:
    errors = _watched(page)
    _sign_in(page, furnished)
    page.get_by_role("link", name="Models", exact=True).click()
    page.get_by_role("link", name="parts-v1").click()
    page.get_by_role("link", name="Deploy a model").click()
    page.get_by_label("Name").fill("by-clicks")
    page.get_by_role("button", name="Deploy").click()
    page.get_by_text("This token is shown this once").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("Password").wait_for()
    assert errors == []


def test_one_of_many_classes_is_found_by_a_part_of_its_name(
    app: Flask, furnished: str, api_sessions: SessionFactory, page: Page
) -> None:
    errors = _watched(page)
    _sign_in(page, furnished)
    page.goto(f"{furnished}/datasets/parts")
    assert page.get_by_label("Search in this list").count() == 0  # three classes are seen at a glance
    with transaction(api_sessions) as session:
        for number in range(30):
            named = {"key": f"{number}.jpg", "etag": str(number), "label": f"Screw M{number}"}
            session.add(Image(dataset_id=1, size=100, usable=True, **named))
    page.reload()
    rows = page.locator(".class-row:visible")
    assert rows.count() == 33
    page.get_by_label("Search in this list").fill("sCrew m2")
    assert rows.count() == 11  # 2, and 20 to 29
    _check(page)
    page.get_by_label("Search in this list").fill("screw m27")
    rows.click()
    page.wait_for_url("**/datasets/parts?label=Screw+M27#gallery")
    assert errors == []


def test_the_choice_of_light_or_dark_holds_on_the_next_page(address: str, browser: Browser) -> None:
    page = browser.new_page(color_scheme="light")
    page.goto(address)
    page.get_by_role("button", name="Light or dark").click()
    page.goto(address)
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    page.close()


def test_the_keyboard_reaches_the_content_first(address: str, page: Page) -> None:
    page.goto(address)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
