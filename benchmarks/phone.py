"""A classifier in the browser against its predictor: the same answers, and how many a second.

    python -m benchmarks.phone BUNDLE PICTURES

BUNDLE is the folder of an unpacked model (`sightloop models export NAME --format bundle`), PICTURES one of
JPEGs. A real Chromium opens the page that tests the model; its scripts answer each picture, and then what a
camera of 640 x 480 pixels shows. Processor time counts all of Chromium.
"""

from __future__ import annotations

import argparse
import base64
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

from backend import db
from backend.app import create_app
from backend.sealing import new_key
from backend.settings import Settings
from plugins import bundle, registry
from plugins.contract import Prediction
from plugins.images import decode
from tests.console.conftest import CHROMIUM, furnish
from tests.console.trial_world import keep, link_to
from tests.valkey import running_valkey

_SHOWN = (640, 480)
_WARMING = 20  # pictures after which compiled code was replaced by faster code
_OPEN = """async ([scripts]) => {
    const { Phone } = await import(`${scripts}/answering.js`);
    const { draw, ofFile } = await import(`${scripts}/pictures.js`);
    const config = await (await fetch(`${location.pathname}/config`)).json();
    const phone = await Phone.open(location.pathname, config.device);
    const canvas = document.createElement("canvas");
    window.answered = async (picture) => {
        const bytes = Uint8Array.from(atob(picture), (one) => one.charCodeAt(0));
        draw(await ofFile(new Blob([bytes], { type: "image/jpeg" })), canvas, 1600);
        return phone.answer(canvas);
    };
}"""


@contextmanager
def _address(folder: Path, opened: bundle.Bundle) -> Iterator[tuple[str, str]]:
    """The link that opens the model, and where the page's scripts lie."""
    folder.mkdir()
    with running_valkey() as redis:
        port = redis.connection_pool.connection_kwargs["port"]
        settings = Settings(
            data_dir=folder,
            admin_token="a",
            host_token="h",
            secret_key=new_key(),
            redis_url=f"redis://127.0.0.1:{port}/0",
            log_level="error",
        )
        db.migrate(settings.database)
        app = create_app(settings)
        furnish(app)
        keep(app, opened)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        scripts = f"/assets/{app.extensions['sightloop.assets'].digest}/phone"
        yield f"http://127.0.0.1:{server.server_port}{link_to(app)}", scripts
        server.shutdown()


def _browser(playwright: Any, film: Path) -> Browser:
    found: Browser = playwright.chromium.launch(
        executable_path=str(CHROMIUM),
        args=[
            "--no-sandbox",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            f"--use-file-for-fake-video-capture={film}",
        ],
    )
    return found


def _agreement(page: Page, scripts: str, opened: bundle.Bundle, pictures: list[bytes]) -> None:
    manifest = opened.manifest
    open_predictor = registry.load(registry.plugin(manifest.plugin).predictor)
    predictor = open_predictor(opened.folder, manifest.model, threads=1)
    page.evaluate(_OPEN, [scripts])
    texts = [base64.b64encode(data).decode() for data in pictures]
    for text in texts[:_WARMING]:
        page.evaluate("answered", text)
    before = _processor_time()
    answers = [page.evaluate("answered", text) for text in texts]
    spent = (_processor_time() - before) / len(texts)
    decoded = [decode(data, wanted_side=predictor.wanted_side) for data in pictures]
    expected: list[Prediction] = [predictor.predict([one])[0] for one in decoded]
    pairs = list(zip(expected, answers, strict=True))
    same = sum(one.outputs[0].label == other["outputs"][0]["label"] for one, other in pairs)
    decided = sum(
        one.decision is None or one.decision.reason == other["decision"]["reason"] for one, other in pairs
    )
    apart = [abs(one.outputs[0].conf - _confidence(other, one.outputs[0].label)) for one, other in pairs]
    print(
        f"{len(pairs)} pictures: same class {same}, same decision {decided}; confidences differ by "
        f"{np.mean(apart):.4f} on average, {np.max(apart):.4f} at most; {1000 * spent:.0f} ms of processor "
        "time a picture, its JPEG decoded"
    )


def _confidence(answer: Any, label: str) -> float:
    return next(float(one["conf"]) for one in answer["outputs"] if one["label"] == label)


def _pace(page: Page, address: str, seconds: float) -> None:
    page.goto(address)
    page.locator("#outputs li").first.wait_for(timeout=120_000)
    page.wait_for_timeout(5000)  # compiled code is replaced by faster code
    page.evaluate(
        """() => {
            window.seen = 0;
            const note = () => { window.seen += 1; };
            const watched = { childList: true, characterData: true, subtree: true };
            new MutationObserver(note).observe(document.getElementById("facts"), watched);
        }"""
    )
    began = time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    count, took = page.evaluate("seen"), time.monotonic() - began
    print(
        f"camera of {_SHOWN[0]} x {_SHOWN[1]}: {count / took:.1f} answers a second "
        f"(load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)"
    )


def _processor_time() -> float:
    """Seconds that Chromium has had so far."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        if "chrom" in process.name():
            total += sum(process.cpu_times()[:2])
    return total


def main() -> None:
    """Print agreement and pace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--most", type=int, default=150, help="pictures to compare")
    parser.add_argument("--seconds", type=float, default=15)
    chosen = parser.parse_args()
    opened = bundle.verify(chosen.bundle)
    paths = sorted(chosen.pictures.rglob("*.jpg"))
    pictures = [path.read_bytes() for path in paths[:: max(1, len(paths) // chosen.most)]]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film, frame = Path(folder) / "film.mjpeg", BytesIO()
        Image.open(BytesIO(pictures[0])).convert("RGB").resize(_SHOWN).save(frame, "JPEG")
        film.write_bytes(frame.getvalue() * 10)
        with _address(Path(folder) / "data", opened) as (address, scripts):
            browser = _browser(playwright, film)
            page = browser.new_page(viewport={"width": 390, "height": 844}, permissions=["camera"])
            page.goto(address)
            page.locator("html[data-state=ready]").wait_for(timeout=120_000)
            page.get_by_role("button", name="Hold").click()
            _agreement(page, scripts, opened, pictures)
            _pace(page, address, chosen.seconds)
            browser.close()


if __name__ == "__main__":
    main()
