"""The real Label Studio as the stack starts it: closed to strangers, and narrowly connected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from backend.label_studio.client import LabelStudio
from tests.label_studio.real import RealLabelStudio, running_label_studio


def test_the_first_user_has_the_token_it_was_given(label_studio: RealLabelStudio) -> None:
    with label_studio.client() as client:
        found = client.get("/api/current-user/whoami").raise_for_status().json()
    assert found["email"] == label_studio.user


@contextmanager
def _listener() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the secrets that it has been told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.append(self.headers.get("X-Secret", ""))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_secrets_for_this_machine_are_told_to_no_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        (address, told), (proxy, overheard) = (stack.enter_context(_listener()) for _ in range(2))
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy)
        monkeypatch.setenv("NO_PROXY", "example.org")
        running = stack.enter_context(running_label_studio(tmp_path))
        studio = LabelStudio(running.url, running.token)
        stack.callback(studio.close)
        made = studio.create_project(title="parts", description="", config="<View/>")
        studio.ask(
            lambda: studio.sdk.webhooks.create(
                url=address,
                project=made.id,
                actions=["PROJECT_UPDATED"],
                send_for_all_actions=False,
                headers={"X-Secret": "s3cret"},
            )
        )
        studio.update_project(made.id, title="other parts")
    assert (told, overheard) == (["s3cret"], [])
