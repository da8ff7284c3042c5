"""`sightloop predict` against a server that answers as a service does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

from backend.cli.credentials import Tokens
from backend.cli.embedded.home import Home
from tests.cli.program import Stack, free_base

TOKEN = "the-token"
GOOD = {"success": True, "result": {"output": [{"label": "rose", "conf": 0.973}], "meta": {}}, "model": "m"}
OUTPUTS = [
    {"label": "rose", "conf": 0.413},
    {"label": "tulip", "conf": 0.38},
    {"label": "daisy", "conf": 0.2},
]
EVIDENCE = {"label": "rose", "grid": [[-1.0, 1.0], [-1.0, 1.0]], "peak": 3.5}
DECISIONS = {
    b"sure": {"label": "rose", "reason": ""},
    b"torn": {"label": None, "reason": "not_sure"},
    b"odd one": {"label": None, "reason": "unlike_training"},
    b"new reason": {"label": None, "reason": "too_dark"},
}
UNEXPLAINED = {
    "success": False,
    "errorCode": 1001,
    "errorMsg": "INPUT_FORMAT_ERROR",
    "errorDetail": "explain is not possible: this kind of model has no evidence maps",
}
REFUSED = {"success": False, "errorCode": 1002, "errorMsg": "IMAGE_DECODE_ERROR", "errorDetail": "no image"}


class _Service(BaseHTTPRequestHandler):
    """Knows roses; refuses what does not begin with `rose`, and wrong tokens. Explains PNG files, except the
    ones that are red.
    """

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        image = base64.b64decode(body["dataArray"][0]["body"])
        if image == b"odd":
            self._answer(200, b"<html>")
        elif self.headers["Authorization"] != TOKEN:
            self._answer(401, json.dumps({"success": False, "errorDetail": "wrong token"}).encode())
        else:
            query = parse_qs(urlsplit(self.path).query)
            self._answer(200, json.dumps(_said(image, explain=query.get("explain") == ["true"])).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _said(image: bytes, *, explain: bool) -> dict[str, Any]:
    if image in DECISIONS:
        return {"success": True, "result": {"output": OUTPUTS, "decision": DECISIONS[image], "meta": {}}}
    if image.startswith(b"\x89PNG"):
        red = Image.open(BytesIO(image)).getpixel((0, 0)) == (255, 0, 0)
        evidence = {"evidence": EVIDENCE} if explain and not red else {}
        return {"success": True, "result": {"output": OUTPUTS, "meta": {}, **evidence}}
    if image.startswith(b"rose"):
        return UNEXPLAINED if explain else GOOD
    return REFUSED


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
    assert f"{images['rose']}  rose 0.97" in nobody.run(*call)


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
    Tokens(Home(nobody.data_dir)).keep("flowers", TOKEN)
    nobody.run(*call)
    assert (nobody.data_dir / "tokens.json").stat().st_mode & 0o077 == 0
    Tokens(Home(nobody.data_dir)).forget("flowers")
    nobody.run(*call, code=1)


@pytest.fixture
def asked(nobody: Stack, endpoint: str) -> tuple[str, ...]:
    """The end of a command that asks the service."""
    return "--endpoint", endpoint, "--token", TOKEN


@pytest.mark.parametrize(
    "image, said",
    [
        (b"sure", "rose 0.41"),
        (b"torn", "not sure: rose 0.41, tulip 0.38"),
        (b"odd one", "unlike the training images: rose 0.41"),
        (b"new reason", "too_dark: rose 0.41"),
    ],
)
def test_a_decision_is_said_plainly(
    nobody: Stack, asked: tuple[str, ...], tmp_path: Path, image: bytes, said: str
) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(image)
    assert nobody.run("predict", "flowers", str(path), *asked) == f"{path}  {said}\n"
    assert nobody.json("predict", "flowers", str(path), *asked)["result"]["decision"] == DECISIONS[image]
    all_classes = nobody.run("predict", "flowers", str(path), "--top-k", "3", *asked)
    assert all_classes.endswith("rose 0.41, tulip 0.38, daisy 0.20\n")


def picture(path: Path, colour: str = "grey") -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", (60, 40), colour).save(path)
    return path


def test_evidence_is_drawn_into_the_file_that_was_named(
    nobody: Stack, asked: tuple[str, ...], tmp_path: Path
) -> None:
    image, drawing = picture(tmp_path / "a.png"), tmp_path / "new" / "why.png"
    said = nobody.run("predict", "flowers", str(image), "--explain", str(drawing), *asked)
    assert said == f"{image}  rose 0.41, tulip 0.38, daisy 0.20  ({drawing})\n"
    pixels = np.asarray(Image.open(drawing)).astype(int)
    assert pixels.shape == (40, 60, 3)
    red_over_blue = pixels[..., 0] - pixels[..., 2]
    assert (red_over_blue[:, :10] < -50).all() and (red_over_blue[:, -10:] > 50).all()


def test_evidence_of_several_images_goes_into_a_folder(
    nobody: Stack, asked: tuple[str, ...], tmp_path: Path
) -> None:
    images = [str(picture(tmp_path / name)) for name in ("one/a.png", "two/a.png", "two/b.png")]
    answer = nobody.json("predict", "flowers", *images, "--explain", str(tmp_path / "why"), *asked)
    names = ["a.evidence.png", "a.evidence-2.png", "b.evidence.png"]
    assert [Path(result["drawing"]).name for result in answer["results"]] == names
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == sorted(names)
    assert answer["result"]["evidence"] == EVIDENCE


def test_a_drawing_that_cannot_go_where_it_is_wanted_is_refused_before_asking(
    nobody: Stack, tmp_path: Path
) -> None:
    nowhere = ("--endpoint", "http://127.0.0.1:9/", "--token", TOKEN)
    one, other = str(picture(tmp_path / "a.png")), str(picture(tmp_path / "b.png"))
    before = Path(one).read_bytes()
    for arguments, why in (
        ((one, other, "--explain", str(tmp_path / "why.png")), "is one file for 2 images"),
        ((one, "--explain", one), "is the image itself"),
        ((one, "--explain", f"{other}/folder"), "cannot be made"),
    ):
        sentence, code = nobody.refusal("predict", "flowers", *arguments, *nowhere)
        assert why in sentence and code == "bad_input"
    assert Path(one).read_bytes() == before


def test_a_service_without_evidence_is_a_sentence(
    nobody: Stack, asked: tuple[str, ...], images: dict[str, str], tmp_path: Path
) -> None:
    drawing = ("--explain", str(tmp_path / "why.png"))
    said = nobody.run("predict", "flowers", images["rose"], *drawing, *asked, code=1)
    assert "explain is not possible: this kind of model has no evidence maps (1001)" in said
    red = str(picture(tmp_path / "red.png", "red"))
    assert "it runs an older release" in nobody.run("predict", "flowers", red, *drawing, *asked, code=1)
    assert not (tmp_path / "why.png").exists()
