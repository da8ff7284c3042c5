"""A real stack with photographs in its bucket, shared by the tests of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.plugins.photographs import MATERIALS, crop, encode
from tests.valkey import free_port

PER_CLASS = 24


@dataclass(frozen=True)
class Stack:
    """A running stack and the command line that talks to it."""

    data_dir: Path
    api: str
    token: str

    def run(self, *arguments: str, code: int = 0) -> str:
        """One command that must exit with `code`. Answers what it printed, or its errors if it failed."""
        done = sightloop(self.data_dir, *arguments)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        """One command with --json."""
        return json.loads(self.run(*arguments, "--json"))

    def get(self, path: str) -> Any:
        """One answer of the REST API."""
        answer = httpx.get(f"{self.api}{path}", headers={"Authorization": f"Bearer {self.token}"}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()


def sightloop(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real program in a process of its own."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLOOP_")}
    return subprocess.run(
        [str(Path(sys.executable).with_name("sightloop")), "--data-dir", str(data_dir), *arguments],
        capture_output=True,
        text=True,
        timeout=150,
        env=environ,
        check=False,
    )


def _free_range() -> int:
    """A base port with free ports behind it, below those that the system gives to clients."""
    for base in range(11000, 30000, 100):
        if all(_is_free(base + offset) for offset in range(12)):
            return base
    raise AssertionError(f"no free ports; {free_port()} would be one")


def _is_free(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started once, stopped at the end."""
    data_dir = tmp_path_factory.mktemp("stack")
    started = sightloop(data_dir, "up", "--port", str(_free_range()), "--json")
    try:
        assert started.returncode == 0, started.stderr
        up = json.loads(started.stdout)
        token = (data_dir / "secrets" / "admin-token").read_text().strip()
        yield Stack(data_dir, up["api"], token)
    finally:
        sightloop(data_dir, "down")


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder a class: crops of three photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in MATERIALS:
        (folder / name).mkdir()
        for number in range(PER_CLASS):
            (folder / name / f"{number:02}.jpg").write_bytes(encode(crop(name, number)))
    return folder


@pytest.fixture(scope="session")
def dataset(stack: Stack, photographs: Path) -> str:
    """The photographs in the bucket, synced and checked."""
    stack.run("upload", str(photographs), "s3://factory/materials")
    stack.run(
        "datasets", "create", "materials", "--type", "classification", "--path", "s3://factory/materials"
    )
    stack.run("datasets", "sync", "materials")
    stack.run("datasets", "check", "materials")
    return "materials"


@pytest.fixture(scope="session")
def model(stack: Stack, dataset: str) -> str:
    """A trained model."""
    stack.run(*train("m1", dataset, "20s"), "--wait")
    return "m1"


def train(name: str, dataset: str, budget: str) -> tuple[str, ...]:
    """The command that starts a training task."""
    algorithm = "classification-high-performance"
    return ("train", name, "--dataset", dataset, "--algorithm", algorithm, "--time-budget", budget)


@pytest.fixture(scope="session")
def service(stack: Stack, model: str) -> tuple[str, str]:
    """The endpoint and token of a running service of two instances."""
    made = stack.json("deploy", "look", "--model", model, "--instances", "2", "--wait")
    assert made["state"] == "Running"
    return made["endpoint"], made["token"]
