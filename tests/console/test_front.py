"""The pages in a real browser: drawn, without an error, accessible, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page

from tests.api.conftest import ADMIN
from tests.console import driving
from tests.console.conftest import furnish

PAGES = [
    "/",
    "/datasets",
    "/datasets/parts?finding=few_images",
    "/datasets/parts/images/1",
    "/tasks",
    "/tasks/parts-v2?step=prepare",
    "/models",
    "/models/parts-v1",
    "/models/parts-v1/test",
    "/services",
    "/services/check",
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
    with page.expect_response(lambda response: response.url.endswith("/tasks/parts-v2/live?step=")):
        pass
    page.context.clear_cookies()
    page.wait_for_url(f"{furnished}/sign-in")
    assert errors == []


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
