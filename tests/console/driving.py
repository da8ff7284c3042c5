"""What every test in a browser does: sign in, listen to the browser's log, look at a page as axe does."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import ConsoleMessage, Page, expect

from backend.console.vendoring import AXE, ROOT

SERIOUS = {"serious", "critical"}


def sign_in(page: Page, address: str, token: str) -> None:
    """With an API token, up to the start page."""
    page.goto(address)
    page.get_by_text("With an API token instead").click()
    page.get_by_label("API token").fill(token)
    page.get_by_role("button", name="Use the token").click()
    page.get_by_role("heading", name="Home").wait_for()


def watched(page: Page, expected: str = "") -> list[str]:
    """The errors and warnings of the browser's log from now on, but those that say what is `expected`."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (expected and expected in message.text):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def settled(page: Page) -> None:
    """Wait until what has come stands: while it is swapped in it is pale, and its buttons do nothing yet."""
    passing = ".htmx-request, .htmx-swapping, .htmx-settling, .htmx-added"
    expect(page.locator(passing)).to_have_count(0)


def choose(page: Page, name: str) -> None:
    """Press a button of a part that the page fetches, when it is there and does what it says: `settled`."""
    button = page.get_by_role("button", name=name, exact=True)
    button.wait_for()
    settled(page)
    button.press("Enter")


def check(page: Page) -> None:
    """Nothing sticks out to the side, and axe finds nothing serious, when all parts have come."""
    settled(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), page.url
    page.evaluate((ROOT / AXE).read_text(encoding="utf-8"))
    found: dict[str, Any] = page.evaluate("axe.run()")
    serious = [v for v in found["violations"] if v["impact"] in SERIOUS]
    told = [(v["id"], n["html"], n["failureSummary"]) for v in serious for n in v["nodes"]]
    assert not told, f"{page.url}: {told}"
