"""A browser, and the app behind an address that it can reach; the fixtures of the API's tests serve here."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from tests.api.conftest import ADMIN, admin, api_sessions, app, settings, stranger

__all__ = ["admin", "api_sessions", "app", "settings", "stranger"]

CHROMIUM = Path("/usr/bin/chromium")


def csrf_of(page: str) -> str:
    """The token of a page's first form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def sign_in(client: FlaskClient, token: str, path: str = "/sign-in") -> TestResponse:
    """Send the sign-in form as a browser does."""
    return client.post(path, data={"csrf_token": csrf_of(client.get(path).text), "token": token})


@pytest.fixture
def member(app: Flask) -> Iterator[FlaskClient]:
    """The browser of the administrator."""
    with app.test_client() as client:
        sign_in(client, ADMIN)
        yield client


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the app answers."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium without a window."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing; install it with: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()
