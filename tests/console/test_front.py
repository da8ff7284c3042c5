"""The sign-in page in a browser: drawn, without an error, accessible, light and dark, wide and narrow."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, ConsoleMessage

from backend.console.vendoring import AXE, ROOT

SERIOUS = {"serious", "critical"}


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_accessible_and_without_errors(
    address: str, browser: Browser, scheme: Literal["light", "dark"], width: int
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    assert page.locator("html").get_attribute("data-bs-theme") == scheme
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.evaluate((ROOT / AXE).read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run()")
    serious = [v for v in found["violations"] if v["impact"] in SERIOUS]
    assert [(v["id"], n["html"], n["failureSummary"]) for v in serious for n in v["nodes"]] == []
    assert errors == []
    page.close()


def test_the_choice_of_light_or_dark_holds_on_the_next_page(address: str, browser: Browser) -> None:
    page = browser.new_page(color_scheme="light")
    page.goto(address)
    page.get_by_role("button", name="Light or dark").click()
    page.goto(address)
    assert page.locator("html").get_attribute("data-bs-theme") == "dark"
    page.close()


def test_the_keyboard_reaches_the_content_first(address: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(address)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.close()
