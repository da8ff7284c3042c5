"""The page that tests a model, in a real browser of a phone's size whose camera shows a photograph."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import skimage.data
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from plugins import registry
from plugins.classification import preprocess
from tests import servers
from tests.console.conftest import CHROMIUM
from tests.console.test_front import _check, _watched
from tests.console.trial_world import link_to, put_colours, put_reader, use_store
from tests.ml_backend.reading_plugin import ReadingPredictor

PATIENCE = 90_000  # milliseconds: WebAssembly of 14 MB is compiled on a busy machine
HOST = "phone.test"  # leads here, and is no secure address as localhost is


@pytest.fixture(scope="module")
def photograph() -> bytes:
    """A cup of coffee as a JPEG of 600 x 400 pixels."""
    with Image.open(Path(skimage.data.__file__).with_name("coffee.png")) as image:
        return _jpeg(image)


def _jpeg(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def browser(photograph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing; install it with: apt install chromium")
    film = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    film.write_bytes(photograph * 10)
    arguments = [
        "--no-sandbox",
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
        f"--host-resolver-rules=MAP {HOST} 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 390, "height": 844}, permissions=["camera"])
    page.set_default_timeout(PATIENCE)
    yield page
    page.close()


@pytest.fixture
def posted(page: Page) -> list[str]:
    """The addresses that the page sends something to."""
    found: list[str] = []

    def note(request: Request) -> None:
        if request.method != "GET":
            found.append(request.url.rpartition("/")[2])

    page.on("request", note)
    return found


def _answer(page: Page) -> dict[str, float]:
    """Names and confidences that the page shows, waiting for the first."""
    page.locator("#outputs li").first.wait_for()
    lines = page.locator("#outputs li").all_inner_texts()
    parts = [re.fullmatch(r"(.*)\s+([\d.]+) %", line.strip(), re.DOTALL) for line in lines]
    return {part[1].strip(): float(part[2]) / 100 for part in parts if part is not None}


def _expected(app: Flask, link: str, photograph: bytes) -> dict[str, float]:
    answer: Any = app.test_client().post(f"{link}/answers", data=photograph).get_json()
    return {output["label"]: output["conf"] for output in answer["outputs"]}


def _same(shown: dict[str, float], expected: dict[str, float], within: float = 0.02) -> None:
    assert list(shown) == list(expected)
    assert shown == pytest.approx(expected, abs=within)


def test_the_camera_is_answered_on_the_phone_as_the_server_answers(
    app: Flask, address: str, page: Page, posted: list[str], photograph: bytes
) -> None:
    put_colours(app)
    link = link_to(app)
    page.goto(address + link)
    page.get_by_text("On this phone; the picture goes nowhere.").wait_for()
    # The colours of a camera pass through those of video, which changes them a little.
    _same(_answer(page), _expected(app, link, photograph), within=0.05)
    assert posted == []
    assert page.evaluate("crossOriginIsolated")  # so several threads may share its memory
    page.get_by_text("The server", exact=True).click()
    page.get_by_text("On the server, which keeps no picture.").wait_for()
    _same(_answer(page), _expected(app, link, photograph), within=0.05)
    assert set(posted) == {"answers"}


def test_a_photo_taken_while_the_camera_is_answered_has_its_own_answer(
    app: Flask, address: str, page: Page
) -> None:
    put_colours(app)
    page.goto(address + link_to(app))
    page.get_by_text("On this phone; the picture goes nowhere.").wait_for()
    photo = {"name": "sea.jpg", "mimeType": "image/jpeg", "buffer": _jpeg(Image.new("RGB", (90, 60), "blue"))}
    page.get_by_label("Take or choose a photo").set_input_files(photo)  # type: ignore[arg-type]
    expect(page.locator("#outputs li").first).to_contain_text("blue")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#outputs li").first).to_contain_text("red")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible_and_without_errors(
    app: Flask, address: str, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    put_colours(app)
    page = browser.new_page(
        viewport={"width": 390, "height": 844}, permissions=["camera"], color_scheme=scheme
    )
    page.set_default_timeout(PATIENCE)
    errors = _watched(page)
    page.goto(address + link_to(app, collects=True))
    page.get_by_text("On this phone; the picture goes nowhere.").wait_for()
    page.get_by_role("button", name="Hold").click()
    _check(page)
    assert errors == []
    page.goto(f"{address}/try/nothing")
    page.get_by_role("heading", name="This link opens nothing").wait_for()
    _check(page)
    page.close()


def test_without_https_a_photo_is_answered_instead(
    app: Flask, address: str, page: Page, posted: list[str], photograph: bytes
) -> None:
    put_colours(app)
    link = link_to(app)
    page.goto(address.replace("127.0.0.1", HOST) + link)
    page.get_by_text("Without https the browser gives this page no camera.").wait_for()
    photo = {"name": "coffee.jpg", "mimeType": "image/jpeg", "buffer": photograph}
    page.get_by_label("Take or choose a photo").set_input_files(photo)  # type: ignore[arg-type]
    page.get_by_text("On this phone; the picture goes nowhere.").wait_for()
    _same(_answer(page), _expected(app, link, photograph))
    assert posted == []
    text = {"name": "notes.txt", "mimeType": "image/png", "buffer": b"no picture"}
    page.get_by_label("Take or choose a photo").set_input_files(text)  # type: ignore[arg-type]
    page.get_by_text("This browser cannot read that file as a picture.").wait_for()


def _redder_or_bluer(image: Any, x: float, y: float) -> str:
    red, _, blue = image.image.getpixel((int(x), int(y)))
    return "red" if red > blue else "blue"


def test_a_reader_reads_on_the_server_and_marks_what_it_read(
    app: Flask, address: str, page: Page, posted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.BUILTIN, "reading", "tests.ml_backend.reading_plugin:PLUGIN")
    monkeypatch.setattr(ReadingPredictor, "_colour", staticmethod(_redder_or_bluer))
    registry.forget()
    put_reader(app)
    page.goto(address + link_to(app))
    page.get_by_text("On the server, which keeps no picture.").first.wait_for()
    flag = Image.new("RGB", (400, 300), "red")
    flag.paste("blue", (0, 150, 400, 300))
    photo = {"name": "flag.jpg", "mimeType": "image/jpeg", "buffer": _jpeg(flag)}
    page.get_by_label("Take or choose a photo").set_input_files(photo)  # type: ignore[arg-type]
    expect(page.locator("#outputs li")).to_have_text([re.compile("red"), re.compile("blue")])
    expect(page.locator("#where")).to_be_hidden()
    drawn = page.evaluate(
        """() => {
            const marks = document.getElementById("marks");
            const { data } = marks.getContext("2d").getImageData(0, 0, marks.width, marks.height);
            return [marks.width, marks.height, data.some((value) => value > 0)];
        }"""
    )
    assert drawn == [400, 300, True] and set(posted) == {"answers"}
    registry.forget()


def test_a_wrong_answer_is_sent_back_with_one_touch(
    app: Flask, address: str, page: Page, tmp_path: Path
) -> None:
    put_colours(app)
    for store in servers.object_store():
        kept = use_store(app, store, "phones")
        page.goto(address + link_to(app, collects=True))
        page.get_by_text("On this phone; the picture goes nowhere.").wait_for()
        page.get_by_role("button", name="Wrong: send this picture back").click()
        page.get_by_text("Sent back; it waits in the dataset to be labelled.").wait_for()
        (found,) = kept.list("phones", "back/")
        with Image.open(BytesIO(kept.read("phones", found.key, 10**7))) as image:
            assert (image.format, image.size) == ("JPEG", (600, 400))


def test_the_phone_scales_pixels_exactly_as_the_server(app: Flask, address: str, page: Page) -> None:
    put_colours(app)
    page.goto(address + link_to(app))
    script = f"/assets/{app.extensions['sightloop.assets'].digest}/phone/resize.js"
    side, random = 24, np.random.default_rng(0)
    for width, height, side in (
        (64, 48, 24),
        (33, 51, 24),
        (31, 97, 24),
        (10, 200, 24),
        (12, 9, 24),
        (24, 24, 24),
    ):
        rows = random.integers(0, 256, (height, width, 3), np.uint8)
        opaque = np.dstack([rows, np.full((height, width), 255, np.uint8)])
        scaled = page.evaluate(
            """async ([script, pixels, width, height, side]) => {
                const { square } = await import(script);
                return Array.from(square(Uint8Array.from(pixels), width, height, side));
            }""",
            [script, opaque.ravel().tolist(), width, height, side],
        )
        assert scaled == preprocess.pixels(Image.fromarray(rows), side).ravel().tolist(), (width, height)
