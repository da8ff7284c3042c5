"""A stack with Label Studio: provisioned without a click, checked, and the choice is kept."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from backend.cli.embedded.home import Home
from tests.cli.program import Stack, free_base

# The stack starts within the first test.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def labelling() -> Iterator[Stack]:
    """A stack with everything."""
    path = Path(tempfile.mkdtemp(prefix="sightloop-test-"))
    stack = Stack(path / "data", free_base())
    try:
        stack.run("up", "--label-studio-wait", "120", "--port", str(stack.port))
        yield stack
    finally:
        stack.run("down")
        shutil.rmtree(path, ignore_errors=True)


def test_up_says_where_label_studio_is_and_status_shows_it(labelling: Stack) -> None:
    found = labelling.json("up")["label_studio"]
    assert found == {
        "url": f"http://127.0.0.1:{labelling.port + 10}",
        "state": "running",
        "user": "admin@sightloop.local",
        "password_file": str(labelling.data_dir / "secrets" / "label-studio-password"),
    }
    assert labelling.json("status")["label_studio"] == found
    programs = labelling.programs()
    assert programs["label-studio"]["state"] == programs["ml-backend"]["state"] == "running"


def test_the_first_user_can_log_in_and_has_the_token_of_the_stack(labelling: Stack) -> None:
    home = Home(labelling.data_dir)
    url = f"http://127.0.0.1:{labelling.port + 10}"
    token = {"Authorization": f"Token {home.secret('label-studio-token')}"}
    assert httpx.get(f"{url}/api/current-user/whoami", headers=token).json()["email"]
    with httpx.Client(base_url=url) as browser:
        browser.get("/user/login/")
        form = {
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
            "email": "admin@sightloop.local",
            "password": home.secret("label-studio-password"),
        }
        answer = browser.post("/user/login/", data=form, headers={"Referer": url})
        assert answer.status_code == 302, answer.text


def test_doctor_finds_both_well(labelling: Stack) -> None:
    checks = {check["name"]: check for check in labelling.json("doctor")["checks"]}
    assert checks["label studio"]["verdict"] == checks["ml backend"]["verdict"] == "ok", checks
    assert "closed to strangers" in checks["label studio"]["detail"]


def test_label_studio_cannot_be_left_out_while_it_runs(labelling: Stack) -> None:
    assert "sightloop down" in labelling.run("up", "--no-label-studio", code=1)


def test_an_own_label_studio_wants_the_choice_said_and_a_token(folder: Path) -> None:
    stack, own = Stack(folder, free_base()), "http://127.0.0.1:9"
    port = ("--port", str(stack.port))
    said = stack.run("up", *port, "--json", code=1, SIGHTLOOP_LABEL_STUDIO_URL=own)
    assert "sightloop up --no-label-studio" in json.loads(said)["error"]["detail"]
    said = stack.run("up", "--no-label-studio", *port, code=1, SIGHTLOOP_LABEL_STUDIO_URL=own)
    assert "SIGHTLOOP_LABEL_STUDIO_TOKEN is not set" in said


def test_a_missing_label_studio_is_named_with_both_ways_out(folder: Path) -> None:
    stack = Stack(folder, free_base())
    nowhere = str(folder / "bin" / "label-studio")
    said = stack.run("up", "--port", str(stack.port), code=1, SIGHTLOOP_LABEL_STUDIO_BIN=nowhere)
    assert f"there is no Label Studio at {nowhere}" in said and "SIGHTLOOP_LABEL_STUDIO_BIN" in said
