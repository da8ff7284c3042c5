"""Server time of every page of the console over a large workspace: 100,000 indexed images, 500 classes.

    python -m benchmarks.console [--images 100000] [--classes 500] [--requests 20]

The rows are written directly, there are no objects behind them. Pages are asked for in this process, so that
the figures are the server's own, without a network or a browser: the time that passed, and that of the
processor, which other work on the machine hardly changes. Then Chromium on the same machine opens each page:
how long until it first shows something of it, with files of the console that it has kept. Prints Markdown.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import insert
from sqlalchemy.orm import Session
from werkzeug.serving import make_server

from backend import db
from backend.app import create_app
from backend.datasets import findings
from backend.datasets.findings import Found
from backend.datasets.tables import Dataset, Image, Operation
from backend.db import now, transaction
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.sealing import new_key
from backend.services import registry as services
from backend.settings import Settings
from backend.training import records
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.registry import TaskRequest
from backend.workspaces.tables import StorageConnection
from plugins import registry as plugins
from tests.console import driving
from tests.console.conftest import CHROMIUM, sign_in
from tests.valkey import running_valkey

TOKEN = "token-of-the-benchmark"
TARGET = 100.0  # milliseconds
_ALGORITHM = "classification-high-performance"
_PART = 5000  # rows of one insert
_TASKS = 200  # tasks, models and services
_EPOCHS = 500
_OPENED = 5  # times that the browser opens each page
_PAINT = """new Promise((tell) => new PerformanceObserver((seen) => {
    for (const entry of seen.getEntriesByName("first-contentful-paint")) tell(entry.startTime);
}).observe({ type: "paint", buffered: true }))"""


@dataclass(frozen=True)
class Figure:
    """One page: bytes, and milliseconds of each request: passed, and spent by the processor."""

    path: str
    size: int
    passed: list[float]
    spent: list[float]


def _images(dataset_id: int, number: int, classes: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(8700)
    moment = now()
    for n in range(number):
        label = f"class-{min(int(chance.expovariate(8 / classes)), classes - 1):03}"
        checked = n % 50 != 0
        yield {
            "dataset_id": dataset_id,
            "key": f"parts/{label}/{n:07}.jpg",
            "etag": f"{n:032x}",
            "size": 100_000 + n,
            "state": "deleted" if n % 1000 == 999 else "present",
            "label": label if n % 20 else None,
            "regions": None,
            "label_source": "folder" if n % 20 else None,
            "indexed_at": moment,
            "checked_etag": f"{n:032x}" if checked else None,
            "usable": checked and n % 100 != 1,
            "width": 640 if checked else None,
            "height": 480 if checked else None,
            "content_hash": f"{n:064x}" if checked else None,
            "perceptual_hash": f"{n * 7919:064x}" if checked else None,
        }


def _furnish(runtime: Runtime, number: int, classes: int) -> None:
    with transaction(runtime.sessions) as session:
        connection = StorageConnection(workspace_id=1, name="bench", endpoint="http://127.0.0.1:9")
        session.add(connection)
        session.flush()
        dataset = _dataset(session, connection, "parts")
        rows = list(_images(dataset.id, number, classes))
        for start in range(0, number, _PART):
            session.execute(insert(Image), rows[start : start + _PART])
        session.add_all(
            Operation(dataset_id=dataset.id, kind=kind, state="succeeded", finished_at=now())
            for kind in ("sync", "check") * 20
        )
        found = [Found("near_duplicate", "nearly the same", row["key"]) for row in rows[::10]]
        found += [Found("truncated", "the image is cut off", row["key"]) for row in rows[1::100]]
        found += [Found("few_images", f"class class-{n:03} has few") for n in range(classes // 2, classes)]
        findings.add(session, dataset, "check", found)
        for n in range(_TASKS):
            _dataset(session, connection, f"other-{n:03}")
            _trained(session, dataset, n)


def _dataset(session: Session, connection: StorageConnection, name: str) -> Dataset:
    row = Dataset(
        workspace_id=1,
        connection=connection,
        name=name,
        type="classification",
        bucket="factory",
        prefix=f"{name}/",
        synced_at=now(),
        checked_at=now(),
    )
    session.add(row)
    session.flush()
    return row


def _trained(session: Session, dataset: Dataset, number: int) -> None:
    name = f"task-{number:03}"
    task = tasks.create(session, dataset, TaskRequest(name, _ALGORITHM), Placement("train"))
    labels = [f"class-{n:03}" for n in range(500)]
    base = {"task_id": task.id, "step": "train", "at": now()}
    if number == 0:
        records.add_logs(session, [{**base, "message": f"line {n}"} for n in range(10_000)])
        rows = [
            {**base, "attempt": 1, "epoch": epoch, "name": metric, "value": 1 / (epoch + 1)}
            for epoch in range(_EPOCHS)
            for metric in ("loss", "val_accuracy", "val_loss", "images_per_second", "learning_rate")
        ]
        records.add_metrics(session, rows)
    model = Model(
        workspace_id=1,
        task_id=task.id,
        dataset_id=dataset.id,
        name=name,
        plugin=plugins.algorithm(_ALGORITHM)[0].name,
        algorithm=_ALGORITHM,
        digest=f"{number:064x}",
        size=4_200_000,
        labels=labels,
        metrics={"accuracy": 0.875},
        facts={},
        snapshot="5" * 64,
    )
    session.add(model)
    session.flush()
    services.create(session, model, f"service-{number:03}", instances=1, quota=1)


PAGES = [
    "/",
    "/datasets",
    "/datasets/parts",
    "/datasets/parts/progress",
    "/datasets/parts?label=class-003",
    "/datasets/parts?label=class-450&condition=usable",
    "/datasets/parts?condition=kept_out",
    "/datasets/parts?condition=skipped",
    "/datasets/parts?condition=deleted",
    "/datasets/parts?finding=near_duplicate",
    "/datasets/parts?finding=few_images",
    "/datasets/parts?after=parts/class-200/",
    "/datasets/parts/images/5000",
    "/tasks",
    "/tasks/task-000",
    "/tasks/task-000/live?step=train",
    "/models",
    "/services",
    "/services/service-000",
    "/services/service-000/live",
    "/storage",
    "/storage/bench",
    "/new/dataset",
    f"/new/task?dataset=parts&algorithm={_ALGORITHM}",
    "/new/service",
    "/new/storage",
    "/sign-in",
]


@contextmanager
def _console(folder: Path, images: int, classes: int) -> Iterator[tuple[FlaskClient, str]]:
    """A signed-in client of a furnished app, and where that answers."""
    with running_valkey() as redis:
        settings = Settings(
            data_dir=folder,
            admin_token=TOKEN,
            secret_key=new_key(),
            redis_url=f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0",
            log_level="error",
        )
        db.migrate(settings.database)
        app = create_app(settings)
        _furnish(app.extensions["sightloop"], images, classes)
        with app.test_client() as client:
            sign_in(client, TOKEN)
            server = make_server("127.0.0.1", 0, app, threaded=True)
            logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for every request
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield client, f"http://127.0.0.1:{server.server_port}"
            server.shutdown()


@contextmanager
def _browser(address: str) -> Iterator[Page]:
    """A signed-in page of Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = chromium.new_page()
        driving.sign_in(page, address, TOKEN)
        yield page
        chromium.close()


def _first_paint(page: Page, url: str) -> float:
    """Milliseconds from asking for a page to its first text or picture (first contentful paint), median."""
    found = []
    for _ in range(_OPENED):
        page.goto(url)
        found.append(float(page.evaluate(_PAINT)))
    return statistics.median(found)


def _measure(client: FlaskClient, path: str, requests: int) -> Figure:
    found = Figure(path, len(client.get(path).data), [], [])
    for _ in range(requests):
        started, busy = time.perf_counter(), time.process_time()
        answer = client.get(path)
        found.spent.append(1000 * (time.process_time() - busy))
        found.passed.append(1000 * (time.perf_counter() - started))
        if answer.status_code != 200:
            raise SystemExit(f"{path} answers {answer.status}")
    return found


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=500)
    parser.add_argument("--requests", type=int, default=20)
    options = parser.parse_args()
    print(
        f"{options.images:,} images, {options.classes} classes; Python {platform.python_version()}, Flask "
        f"{version('flask')}, SQLAlchemy {version('sqlalchemy')}, "
        f"SQLite {sqlite3.sqlite_version}, load {os.getloadavg()[0]:.1f}\n"
    )
    print("| page | kB | median ms | worst ms | processor ms | first paint ms |\n|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        _console(Path(folder), options.images, options.classes) as (client, address),
        _browser(address) as page,
    ):
        for path in PAGES:
            found = _measure(client, path, options.requests)
            median, spent = statistics.median(found.passed), statistics.median(found.spent)
            shown = f"**{median:.0f}**" if median > TARGET else f"{median:.0f}"
            size, worst = f"{found.size / 1000:.0f}", f"{max(found.passed):.0f}"
            whole = "/live" not in path and not path.endswith(
                "/progress"
            )  # parts of pages paint nothing alone
            paint = f"{_first_paint(page, address + path):.0f}" if whole else ""
            row = (f"`{path}`", size, shown, worst, f"{spent:.0f}", paint)
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
