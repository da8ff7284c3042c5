"""A second stack beside the first: its life from `up` over a crash to `down`."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.cli.embedded.home import Home
from backend.cli.embedded.supervision import survivors
from tests.cli.conftest import started
from tests.cli.program import Stack, is_free


@pytest.fixture(scope="module")
def second(stack: Stack) -> Iterator[Stack]:
    """Beside the shared stack; its path has a blank and a letter that is not ASCII, and is long."""
    path = Path(tempfile.mkdtemp(prefix="sightloop-test-"))
    other = started(path / f"zweite Daten für {'x' * 60}")
    yield other
    other.run("down")
    shutil.rmtree(Home(other.data_dir).run, ignore_errors=True)
    shutil.rmtree(path, ignore_errors=True)


def test_two_stacks_run_side_by_side(stack: Stack, second: Stack) -> None:
    assert stack.json("status")["state"] == second.json("status")["state"] == "running"
    assert second.token != stack.token
    refused = second.run("datasets", "list", "--json", code=1, SIGHTLOOP_API_TOKEN=stack.token)
    assert "unauthenticated" in refused


def test_the_sockets_of_a_long_path_lie_in_a_private_folder(second: Stack) -> None:
    run = Home(second.data_dir).run
    assert not run.is_relative_to(second.data_dir)
    assert run.stat().st_mode & 0o077 == 0 and run.parent.stat().st_mode & 0o077 == 0


def test_data_and_ports_survive_a_restart(second: Stack, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_bytes(b"x")
    second.run("upload", str(tmp_path), "s3://kept/all")
    second.run("datasets", "create", "kept", "--type", "classification", "--path", "s3://kept/all")
    second.run("down")
    assert second.run("status", code=1) == ""
    assert is_free(second.port)
    up = second.json("up")
    assert up["console"].endswith(f":{second.port}")
    assert [dataset["name"] for dataset in second.json("datasets", "list")] == ["kept"]
    assert second.json("upload", str(tmp_path), "s3://kept/all")["skipped"] == 1


def test_up_works_after_supervisord_was_killed(stack: Stack, second: Stack) -> None:
    home = Home(second.data_dir)
    os.kill(int(home.pid_file.read_text()), signal.SIGKILL)
    orphans = {process.pid for process in survivors(home)}
    assert len(orphans) > 5
    second.run("status", code=1)
    second.run("up")
    assert second.json("status")["state"] == "running"
    assert not orphans & {process.pid for process in survivors(home)}
    assert stack.json("status")["state"] == "running"


def test_down_stops_this_stack_only_and_twice_is_no_error(stack: Stack, second: Stack) -> None:
    assert second.json("down")["state"] == "stopped"
    assert survivors(Home(second.data_dir)) == []
    assert "not running" in second.run("down")
    assert stack.json("status")["state"] == "running"
