"""The administrator of the first start, and the people who are added after it, on a real stack."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import FIRST_UP
from tests.cli.program import Stack
from tests.console.conftest import csrf_of


def _sign_in(stack: Stack, name: str, password: str) -> httpx.Response:
    """Where a browser gets with this name and password."""
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.port}", follow_redirects=True) as client:
        form = {"csrf_token": csrf_of(client.get("/sign-in").text), "name": name, "password": password}
        return client.post("/sign-in", data=form)


@pytest.fixture
def administrator(stack: Stack) -> dict[str, str]:
    """What the first `up` said of the administrator."""
    found: dict[str, str] = json.loads((stack.data_dir.parent / FIRST_UP).read_text())["administrator"]
    return found


def test_the_first_start_makes_an_administrator_who_can_sign_in(
    stack: Stack, administrator: dict[str, str]
) -> None:
    assert administrator["user"] == "admin"
    page = _sign_in(stack, "admin", administrator["password"])
    assert page.status_code == 200 and page.url.path == "/"
    roles = {user["name"]: user["role"] for user in stack.json("users", "list")}
    assert roles["admin"] == "owner"


def test_the_password_is_told_once_and_kept_nowhere(stack: Stack, administrator: dict[str, str]) -> None:
    assert "administrator" not in stack.json("up")
    assert administrator["password"] not in stack.run("up")
    read = 0
    for folder, _, names in os.walk(stack.data_dir):
        for path in (Path(folder, name) for name in names):
            # The stack is running: what it has deleted in the meantime keeps nothing.
            with contextlib.suppress(FileNotFoundError):
                if path.is_file():
                    assert administrator["password"].encode() not in path.read_bytes(), path
                    read += 1
    assert read > 10


def test_a_user_is_added_changed_reset_and_removed(stack: Stack) -> None:
    made = stack.json("users", "add", "ann@example.org", "--role", "viewer")
    assert (made["name"], made["role"], made["state"]) == ("ann@example.org", "viewer", "invited")
    assert _sign_in(stack, "ann@example.org", made["password"]).url.path == "/account/password"
    assert "has the role editor now" in stack.run("users", "role", "ann@example.org", "editor")
    said = stack.run("users", "reset-password", "ann@example.org")
    assert "have ended" in said and "shown this once" in said
    assert _sign_in(stack, "ann@example.org", made["password"]).status_code == 401
    assert _sign_in(stack, "ann@example.org", said.split()[-1]).url.path == "/account/password"
    assert "ann@example.org" in stack.run("users", "list")
    assert stack.json("users", "remove", "ann@example.org") == {"name": "ann@example.org", "state": "removed"}
    assert stack.refusal("users", "remove", "ann@example.org")[1] == "not_found"


def test_the_last_owner_is_kept(stack: Stack) -> None:
    for arguments in (("remove", "admin"), ("role", "admin", "viewer")):
        said, code = stack.refusal("users", *arguments)
        assert code == "wrong_state" and "admin is the last owner" in said


def test_the_owner_of_a_new_workspace_brings_people_in_who_see_nothing_else(stack: Stack) -> None:
    made = stack.json("workspaces", "create", "second")
    assert {"default", "second"} <= {row["name"] for row in stack.json("workspaces", "list")}
    second = {"SIGHTLOOP_API_TOKEN": made["token"]}
    added = json.loads(stack.run("users", "add", "cy", "--role", "owner", "--json", **second))
    assert _sign_in(stack, "cy", added["password"]).url.path == "/account/password"
    assert [row["name"] for row in json.loads(stack.run("users", "list", "--json", **second))] == ["cy"]
    assert json.loads(stack.run("workspaces", "list", "--json", **second))[0]["name"] == "second"
    assert "only owners of the first workspace" in stack.run("workspaces", "create", "x", code=1, **second)
    assert stack.refusal("workspaces", "create", "second")[1] == "name_taken"


def test_a_token_with_a_lesser_role_changes_nothing(stack: Stack) -> None:
    made = stack.json("tokens", "create", "looks", "--role", "viewer")
    assert (made["role"], made["user"]) == ("viewer", None)
    token = made["token"]
    assert stack.run("datasets", "list", SIGHTLOOP_API_TOKEN=token)
    said = stack.run("users", "add", "eve", code=1, SIGHTLOOP_API_TOKEN=token)
    assert said == "Error: this takes the role owner in the workspace, and yours is viewer\n"
    stack.run("tokens", "revoke", "looks")
