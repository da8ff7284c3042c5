"""What a person sees and does: a prediction in Label Studio, corrected in a real browser, on a real stack."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from backend.cli.embedded.home import Home
from tests.cli.program import free_base
from tests.console.conftest import browser
from tests.main_job.conftest import Stack, train
from tests.plugins.photographs import MATERIALS, crop, encode
from tests.valkey import until

__all__ = ["browser"]

NEW = "materials/new.jpg"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack with Label Studio and a trained model; one image of the dataset has no label."""
    folder = Path(tempfile.mkdtemp(prefix="sightloop-test-"))
    made = Stack(folder / "data", free_base())
    try:
        made.run("up", "--label-studio-wait", "120", "--port", str(made.port))
        for name in MATERIALS:
            (folder / "images" / name).mkdir(parents=True)
            for number in range(20):
                (folder / "images" / name / f"{number:02}.jpg").write_bytes(encode(crop(name, number)))
        (folder / "images" / "new.jpg").write_bytes(encode(crop(MATERIALS[0], 30)))
        made.run("upload", str(folder / "images"), "s3://factory/materials")
        made.run(
            "datasets", "create", "materials", "--type", "classification", "--path", f"s3://factory/{NEW[:9]}"
        )
        made.run("datasets", "sync", "materials")
        made.run("datasets", "check", "materials")
        made.run("datasets", "label", "materials", "--labels", "moss")
        made.run(*train("m1", "materials", "30s"), "--wait")
        yield made
    finally:
        made.run("down")
        shutil.rmtree(folder, ignore_errors=True)


def _image(stack: Stack) -> dict[str, Any]:
    found = stack.get("/datasets/materials/images?limit=200")["items"]
    return next(image for image in found if image["key"] == NEW)


def _item(stack: Stack) -> Any:
    """The new image's item, as Label Studio has it."""
    known = stack.json("status")["label_studio"]
    token = Home(stack.data_dir).secret("label-studio-token")
    project = stack.get("/datasets/materials/labeling")["project"]
    answer = httpx.get(
        f"{known['url']}/api/tasks",
        params={"project": project, "fields": "all", "page_size": 200},
        headers={"Authorization": f"Token {token}"},
        timeout=60,
    )
    return next(item for item in answer.json()["tasks"] if item["data"]["key"] == NEW)


def _log_in(page: Page, stack: Stack) -> None:
    known = stack.json("status")["label_studio"]
    page.goto(f"{known['url']}/user/login/")
    page.fill("[name=email]", known["user"])
    page.fill("[name=password]", Path(known["password_file"]).read_text().strip())
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "login" not in url)


@pytest.mark.timeout(400)  # its stack starts, trains and predicts before the browser opens
def test_a_person_corrects_the_model_and_the_next_training_knows(stack: Stack, page: Page) -> None:
    until(lambda: bool(_item(stack)["predictions"]), "the pre-labeling after the training", seconds=60)
    item = _item(stack)
    [prediction] = item["predictions"]
    _log_in(page, stack)
    page.goto(f"{stack.get('/datasets/materials/labeling')['url']}?task={item['id']}")
    page.get_by_text(prediction["model_version"]).first.wait_for()
    page.get_by_text(f"{prediction['score']:.2%}").first.wait_for()
    page.locator('img[src^="blob:"]').wait_for(state="attached")
    width = page.locator('img[src^="blob:"]').evaluate("image => image.naturalWidth")
    assert width == crop(MATERIALS[0], 30).width
    guessed = page.get_by_label(MATERIALS[0], exact=False).first
    assert guessed.is_checked(), "the model's answer stands there already"

    page.get_by_label("moss").first.click()
    with page.expect_response(lambda got: "/annotations" in got.url and got.request.method == "POST"):
        page.get_by_role("button", name="Submit").click()
    until(lambda: _image(stack)["label"] == "moss", "the label's arrival", seconds=60)
    image = _image(stack)
    assert image["label_source"] == "label_studio"
    [change] = stack.get("/datasets/materials/labels/history")["items"]
    assert (change["key"], change["before"], change["author"]) == (NEW, None, "admin@sightloop.local")
    shown = stack.json("datasets", "show", "materials")
    assert {"label": "moss", "images": 1, "usable": 1} in shown["classes"]


@pytest.fixture
def page(browser: Any) -> Iterator[Page]:
    """A page of a desktop's size."""
    made = browser.new_page(viewport={"width": 1400, "height": 900})
    made.set_default_timeout(60_000)
    yield made
    made.close()
