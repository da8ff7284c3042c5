"""One running stack for all tests of this folder: starting one takes some seconds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Stack, free_base

FIRST_UP = "first-up.json"  # beside the data directory: what the shared stack answered at its first start


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory to be, with a path that is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="sightloop-test-"))
    yield path / "data"
    shutil.rmtree(path, ignore_errors=True)


def started(folder: Path) -> Stack:
    """A new stack on free ports."""
    stack = Stack(folder, free_base())
    stack.run("up", "--no-label-studio", "--port", str(stack.port))
    return stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The shared stack. Tests may kill its programs and must leave it running."""
    path = Path(tempfile.mkdtemp(prefix="sightloop-test-"))
    stack = Stack(path / "data", free_base())
    try:
        first = stack.run("up", "--no-label-studio", "--port", str(stack.port), "--json")
        (path / FIRST_UP).write_text(first)
        yield stack
    finally:
        stack.run("down")
        shutil.rmtree(path, ignore_errors=True)
