"""A browser, and the app behind an address that it can reach; the fixtures of the API's tests serve here."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PillowImage
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy.orm import Session
from werkzeug.serving import make_server
from werkzeug.test import TestResponse

from backend.datasets import findings
from backend.datasets.findings import Found
from backend.datasets.tables import Dataset, Image
from backend.db import now, transaction
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.services import registry as services
from backend.training import records
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.workspaces.tables import StorageConnection
from plugins import answers, bundle
from plugins.contract import Judged
from tests.api.conftest import ADMIN, admin, api_sessions, app, settings, stranger

__all__ = ["admin", "api_sessions", "app", "settings", "stranger"]

CHROMIUM = Path("/usr/bin/chromium")


def csrf_of(page: str) -> str:
    """The token of a page's first form."""
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def sign_in(client: FlaskClient, token: str, path: str = "/sign-in") -> TestResponse:
    """Send the sign-in form as a browser does."""
    return client.post(path, data={"csrf_token": csrf_of(client.get(path).text), "token": token})


@pytest.fixture
def member(app: Flask) -> Iterator[FlaskClient]:
    """The browser of the administrator."""
    with app.test_client() as client:
        sign_in(client, ADMIN)
        yield client


@pytest.fixture
def furnished(app: Flask, member: FlaskClient) -> FlaskClient:
    """The same, in a workspace that has one of everything."""
    furnish(app)
    return member


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    """Where the app answers."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium without a window."""
    if not CHROMIUM.exists():
        pytest.fail(f"{CHROMIUM} is missing; install it with: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


MARKUP = "<img src=x onerror=alert(1)>"
RTL = "\u05d1\u05d5\u05e8\u05d2 \u202eabc " + "\u05d0" * 180


def furnish(app: Flask, workspace_id: int = 1) -> None:
    """A dataset with odd labels and findings, a task that trains, a model with a bundle, a service."""
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        connection = StorageConnection(workspace_id=workspace_id, name="store", endpoint="http://127.0.0.1:9")
        session.add(connection)
        session.flush()
        dataset = Dataset(
            workspace_id=workspace_id,
            connection=connection,
            name="parts",
            type="classification",
            description=MARKUP,
            bucket="factory",
            prefix=f"{MARKUP}/",
            synced_at=now(),
            checked_at=now(),
        )
        session.add(dataset)
        session.flush()
        for number, label in enumerate([MARKUP, RTL, "bolt", None]):
            for copy in range(3):
                session.add(_image(dataset, f"{MARKUP}/{number}-{copy}.jpg", label))
        found = [
            Found("truncated", MARKUP, f"{MARKUP}/0-0.jpg"),
            Found("few_images", f"class {RTL!r} has 3"),
        ]
        findings.add(session, dataset, "check", found)
        _trained(session, runtime, dataset)


def _image(dataset: Dataset, key: str, label: str | None) -> Image:
    return Image(
        dataset_id=dataset.id, key=key, etag=key[-8:], size=100, label=label, usable=label is not None
    )


def _trained(session: Session, runtime: Runtime, dataset: Dataset) -> None:
    algorithm, label = "classification-high-performance", {"labels": [MARKUP, RTL]}
    old = tasks.create(session, dataset, TaskRequest("parts-v1", algorithm), Placement("train"))
    request = TaskRequest("parts-v2", algorithm, description=MARKUP, parameters={"seed": "7"})
    task = tasks.create(session, dataset, request, Placement("train"))
    advance(session, task.id, TaskState.QUEUED, TaskState.PREPARING)
    records.end_step(session, task.id, "prepare", "succeeded", {"images": 9, "note": MARKUP})
    records.start_step(session, task.id, "train")
    base = {"task_id": task.id, "step": "train", "at": now()}
    records.add_logs(session, [{**base, "message": f"{MARKUP} {number}"} for number in range(3)])
    records.add_metrics(
        session,
        [
            {**base, "attempt": 1, "epoch": epoch / 10, "name": name, "value": value / (epoch + 1)}
            for epoch in range(30)
            for name, value in (("loss", 2.0), ("val_accuracy", 0.5))
        ],
    )
    details = {
        **label,
        "confusion": [[3, 1], [0, 4]],
        "intervals": {"accuracy": [0.6, 0.97]},
        "per_class": [
            {"label": name, "precision": 0.9, "recall": 0.8, "f1": 0.85, "support": 4}
            for name in label["labels"]
        ],
        "mistakes": [{"key": f"{MARKUP}/0-0.jpg", "label": MARKUP, "predicted": RTL, "conf": 0.9}],
    }
    manifest = replace(_MANIFEST, model=label, details=details)
    folder = runtime.settings.data_dir / "excerpts" / "new"
    (folder / "plots").mkdir(parents=True)
    PillowImage.new("RGB", (60, 40), "white").save(folder / "plots" / "confusion.png")
    given = [(RTL, 0.9, False), (MARKUP, 0.8, True), (MARKUP, 0.7, True), (RTL, 0.99, True), (RTL, 0.4, True)]
    truths = [MARKUP] * 3 + [RTL] * 2
    keys = [f"{MARKUP}/{number // 3}-{number % 3}.jpg" for number in range(5)]
    rows = zip(keys, truths, given, strict=True)
    answers.write(folder, [Judged(key, truth, *answer) for key, truth, answer in rows])
    manifest = bundle.write(folder, manifest).manifest
    folder.rename(folder.with_name(manifest.digest))
    model = Model(
        workspace_id=dataset.workspace_id,
        task_id=old.id,
        dataset_id=dataset.id,
        name="parts-v1",
        plugin="classification",
        algorithm=algorithm,
        digest=manifest.digest,
        size=4_200_000,
        **label,
        metrics={"accuracy": 0.875, "log_loss": 0.31},
        facts={},
        snapshot="5" * 64,
    )
    session.add(model)
    session.flush()
    services.create(session, model, "check", instances=1, quota=1)


_MANIFEST = bundle.Manifest(
    plugin="classification",
    algorithm="classification-high-performance",
    name="parts-v1",
    created_at="2026-11-23T18:31:13+00:00",
    model={},
    metrics={"accuracy": 0.875},
    details={},
    base={"name": "efficientnet-lite0"},
    facts={},
    parameters={"seed": 0},
    snapshot="5" * 64,
    libraries={},
    files={},
)
