"""`sightloop predict` against a server that answers as a service does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backend.cli import credentials
from backend.cli.embedded.home import Home
from tests.cli.program import Stack, free_base

TOKEN = "the-token"
GOOD = {"success": True, "result": {"output": [{"label": "rose", "conf": 0.973}], "meta": {}}, "model": "m"}
REFUSED = {"success": False, "errorCode": 1002, "errorMsg": "IMAGE_DECODE_ERROR", "errorDetail": "no image"}


class _Service(BaseHTTPRequestHandler):
    """Knows roses; refuses what does not begin with `rose`, and wrong tokens."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image = base64.b64decode(body["dataArray"][0]["body"])
        if image == b"odd":
            self._answer(200, b"<html>")
        elif self.headers["Authorization"] != TOKEN:
            self._answer(401, json.dumps({"success": False, "errorDetail": "wrong token"}).encode())
        else:
            self._answer(200, json.dumps(GOOD if image.startswith(b"rose") else REFUSED).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/predict/flowers"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def images(tmp_path: Path) -> dict[str, str]:
    for name in ("rose", "rose2", "stone", "odd"):
        (tmp_path / f"{name}.jpg").write_bytes(name.encode())
    return {path.stem: str(path) for path in tmp_path.iterdir()}


@pytest.fixture
def nobody(folder: Path) -> Stack:
    """A data directory without a stack: with --endpoint none is needed."""
    return Stack(folder, 0)


def test_a_prediction_for_each_image_in_order(nobody: Stack, endpoint: str, images: dict[str, str]) -> None:
    call = ("predict", "flowers", images["rose"], images["rose2"], "--endpoint", endpoint, "--token", TOKEN)
    answer = nobody.json(*call)
    assert answer["success"] is True and answer["result"] == GOOD["result"]
    assert [result["image"] for result in answer["results"]] == [images["rose"], images["rose2"]]
    assert f"{images['rose']}  rose 0.973" in nobody.run(*call)


def test_a_failed_image_is_named_and_the_others_are_answered(
    nobody: Stack, endpoint: str, images: dict[str, str]
) -> None:
    call = ("predict", "flowers", images["stone"], images["rose"], "--endpoint", endpoint, "--token", TOKEN)
    assert "1 of 2 images got no prediction: no image (1002)" in nobody.run(*call, code=1)


@pytest.mark.parametrize("name", ["odd", "missing"])
def test_trouble_on_the_way_is_a_sentence(
    nobody: Stack, endpoint: str, images: dict[str, str], name: str
) -> None:
    image = images.get(name, "/no/such/image.jpg")
    said = nobody.run("predict", "flowers", image, "--endpoint", endpoint, "--token", TOKEN, code=1)
    assert ("no service of Sightloop" in said) if name == "odd" else ("cannot be read" in said)


def test_a_service_that_is_away_is_a_sentence(nobody: Stack, images: dict[str, str]) -> None:
    gone = f"http://127.0.0.1:{free_base()}/api/predict/flowers"
    said = nobody.run("predict", "flowers", images["rose"], "--endpoint", gone, "--token", TOKEN, code=1)
    assert "the service does not answer (ConnectError)" in said


def test_the_token_comes_from_the_option_the_environment_or_deploy(
    nobody: Stack, endpoint: str, images: dict[str, str]
) -> None:
    call = ("predict", "flowers", images["rose"], "--endpoint", endpoint)
    assert "no token of service flowers" in nobody.run(*call, code=1)
    nobody.run(*call, SIGHTLOOP_SERVICE_TOKEN=TOKEN)
    assert "wrong token" in nobody.run(*call, code=1, SIGHTLOOP_SERVICE_TOKEN="other")
    credentials.keep(Home(nobody.data_dir), "flowers", TOKEN)
    nobody.run(*call)
    assert (nobody.data_dir / "tokens.json").stat().st_mode & 0o077 == 0
    credentials.forget(Home(nobody.data_dir), "flowers")
    nobody.run(*call, code=1)
