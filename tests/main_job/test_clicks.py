"""The whole way from a bucket to a running service by clicks alone, in a real browser on a real stack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import browser
from tests.console.driving import check, choose, sign_in, watched
from tests.main_job.conftest import PER_CLASS, Stack
from tests.plugins.photographs import MATERIALS, crop

__all__ = ["browser"]

IMAGES = len(MATERIALS) * PER_CLASS
LONG = 150_000  # milliseconds that work on a busy machine may take


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a laptop's size that waits for what workers do."""
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    made.set_default_timeout(60_000)
    yield made
    made.close()


def _make_dataset(page: Page) -> None:
    page.get_by_role("link", name="Datasets", exact=True).click()
    page.get_by_role("link", name="New dataset").first.click()
    choose(page, "factory/")
    expect(page.get_by_label("Path")).to_have_value("s3://factory/")
    choose(page, "clicked/")
    expect(page.get_by_label("Path")).to_have_value("s3://factory/clicked/")
    expect(page.get_by_role("button", name="clicked", exact=True)).to_be_focused()
    page.get_by_text(f"images {IMAGES}.").wait_for()
    expect(page.get_by_text(f"images: {PER_CLASS}")).to_have_count(len(MATERIALS))
    check(page)
    page.get_by_label("Name").fill("clicked")
    page.get_by_role("button", name="Make the dataset").click()
    page.get_by_text("Nothing is known of the bucket yet").wait_for()


def _operate(page: Page, kind: str) -> None:
    """Start an operation; the page follows it and reads itself again when it has ended."""
    page.get_by_role("button", name=kind, exact=True).click()
    row = page.get_by_role("listitem").filter(has_text=re.compile(f"^\\s*{kind.lower()} ·"))
    expect(row.first).to_contain_text("succeeded", timeout=LONG)


def _look_at_images(page: Page) -> None:
    pictures = page.locator(".gallery img")
    pictures.last.scroll_into_view_if_needed()
    expect(pictures.last).to_have_js_property("naturalWidth", crop(MATERIALS[0], 0).width)
    check(page)
    page.locator("select[name=label]").select_option("grass")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url(re.compile("label=grass"))
    expect(pictures).to_have_count(PER_CLASS)
    pictures.first.click()
    page.get_by_role("link", name="Open the file").wait_for()
    check(page)
    page.get_by_role("link", name="clicked", exact=True).click()


def _train(page: Page) -> None:
    page.get_by_role("link", name="Train a model").click()
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Name").fill("clicked-v1")
    page.get_by_label("Time budget in minutes").fill("5")
    page.get_by_text("Advanced", exact=True).click()
    page.get_by_label("Fine tune").select_option("no")  # the first model is enough here
    check(page)
    page.get_by_role("button", name="Start training").click()
    page.get_by_role("heading", name="clicked-v1").wait_for()
    check(page)
    expect(page.locator("#live > p").first).to_contain_text("succeeded", timeout=LONG)
    page.locator("#step-train").click()
    page.get_by_role("heading", name="Facts of the step train").wait_for()
    page.wait_for_url(re.compile(r"step=train$"))
    check(page)


def _deploy(page: Page) -> None:
    page.reload()  # what can be done with the model stands outside of the part that refreshes itself
    page.get_by_role("link", name="Open the model").click()
    page.get_by_role("heading", name="clicked-v1").wait_for()
    check(page)
    page.get_by_role("link", name="Deploy a model").click()
    page.get_by_label("Name").fill("clicked")
    check(page)
    page.get_by_role("button", name="Deploy").click()
    page.get_by_text("This token is shown this once").wait_for()
    expect(page.locator("#live")).to_contain_text("Running", timeout=LONG)
    expect(page.locator("#live")).to_contain_text("1 of 1 instances ready")
    check(page)


@pytest.mark.timeout(600)  # it syncs, trains and deploys
def test_from_a_bucket_to_a_running_service_by_clicks_alone(
    stack: Stack, photographs: Path, page: Page
) -> None:
    stack.run("upload", str(photographs), "s3://factory/clicked")
    errors = watched(page)
    sign_in(page, f"http://127.0.0.1:{stack.port}", stack.token)
    _make_dataset(page)
    _operate(page, "Sync")
    _operate(page, "Check")
    _look_at_images(page)
    _train(page)
    _deploy(page)
    assert errors == []
