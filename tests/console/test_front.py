"""The pages in a real browser: drawn, without an error, accessible, light and dark, wide and narrow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page

from backend.datasets.tables import Image
from backend.db import SessionFactory, transaction
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
