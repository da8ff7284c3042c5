"""A real supervisord, without the programs of a stack."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from backend.cli.embedded import supervision
from backend.cli.embedded.home import Home
from backend.cli.errors import StartFailed
from model_server.supervision import Program


@pytest.fixture
def home(folder: Path) -> Home:
    home = Home(folder)
    home.prepare()
    return home


@contextmanager
def launched(home: Home) -> Iterator[supervision.Supervisor]:
    """A supervisord that has ended afterwards."""
    try:
        yield supervision.launch(home, [], os.environ)
    finally:
        supervision.sweep(home)


def _served(home: Home, logs: Path, port: int) -> None:
    """As a service was defined by the model host of an earlier start."""
    program = Program("parts.1", home.host_dir / "services" / "parts.1", logs, "127.0.0.1", port)
    (home.host_dir / "services.d" / "parts.1.conf").write_text(program.text())


def test_a_service_whose_port_somebody_has_by_now_does_not_keep_the_stack_from_starting(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        _served(home, home.logs, other.getsockname()[1])
        with launched(home) as supervisor:
            assert supervisor.processes() == []


def test_a_service_from_before_the_folder_was_moved_does_not_keep_the_stack_from_starting(home: Home) -> None:
    _served(home, home.path.with_name("before") / "logs", 0)
    with launched(home) as supervisor:
        assert supervisor.processes() == []


def test_what_killed_programs_left_for_a_moment_is_gone_at_the_next_start(home: Home) -> None:
    with launched(home):
        environment = psutil.Process(int(home.pid_file.read_text())).environ()
        scratch = Path(environment["TMPDIR"])
        (scratch / "sightloop-bundle-x").write_bytes(b"x")
    assert scratch.is_relative_to(home.path)
    with launched(home):
        assert list(scratch.iterdir()) == []


def test_what_supervisord_says_is_told_and_not_how_to_call_it(home: Home) -> None:
    shutil.rmtree(home.logs)
    with pytest.raises(StartFailed, match=f"does not start: .*{home.logs}.* does not exist"):
        supervision.launch(home, [], os.environ)
