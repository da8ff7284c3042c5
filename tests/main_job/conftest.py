"""A real stack with photographs in its bucket, shared by the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli import program
from tests.cli.program import free_base, sightloop
from tests.plugins.photographs import MATERIALS, crop, encode

PER_CLASS = 24


@dataclass(frozen=True)
class Stack(program.Stack):
    """A running stack, its command line and its REST API."""

    @property
    def api(self) -> str:
        """The address of the REST API."""
        return f"http://127.0.0.1:{self.port}/api/v1"

    def call(self, method: str, path: str) -> httpx.Response:
        """One request to the REST API."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.request(method, f"{self.api}{path}", headers=headers, timeout=30)

    def get(self, path: str) -> Any:
        """One answer of the REST API."""
        answer = self.call("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Started once, stopped at the end."""
    made = Stack(tmp_path_factory.mktemp("stack"), free_base())
    try:
        up = json.loads(made.run("up", "--no-label-studio", "--port", str(made.port), "--json"))
        assert up["api"] == made.api
        yield made
    finally:
        sightloop("--data-dir", str(made.data_dir), "down")


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
