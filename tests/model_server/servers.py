"""A real gunicorn with the model server, started and stopped by the tests."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx

from model_server import auth, instance
from model_server import config as configuration
from model_server.config import ServiceConfig
from plugins.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]
TOKEN, STORED = auth.new_token("first")
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 30.0) -> T:
    """Wait for a true value of the condition and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds:g} s: {what}")


def plugin_path(folder: Path) -> Path:
    """A folder for PYTHONPATH that holds a distribution with the tiny plugin, as a third party would have."""
    information = folder / "tiny_plugin-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plugin\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[sightloop.plugins]\ntiny = tests.model_server.tiny_plugin:PLUGIN\n"
    )
    return folder


def environment(plugins: Path) -> dict[str, str]:
    """The environment of a server that knows the tiny plugin."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLOOP_")}
    return {**kept, "PYTHONPATH": os.pathsep.join((str(ROOT), str(plugins)))}


class Server:
    """A running service."""

    def __init__(self, folder: Path, plugins: Path, bundle: Bundle, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "service.json"
        self.log = folder / "log"
        self.config = service_config(bundle, **settings)
        configuration.write(self.path, self.config)
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "model_server/gunicorn.conf.py")],
                env={**environment(plugins), configuration.ENVIRONMENT: str(self.path)},
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
            )

    def wait_ready(self, count: int | None = None) -> None:
        wanted = self.config.instances if count is None else count
        until(lambda: self.ready() >= wanted or self.process.poll() is not None, "the service is ready")
        assert self.process.poll() is None, self.log.read_text()

    def ready(self) -> int:
        return instance.ready_count(self.path)

    def pids(self) -> set[int]:
        return {int(entry.name) for entry in (instance.run_folder(self.path) / "ready").iterdir()}

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = (instance.run_folder(self.path) / "address").read_text().rpartition(":")
        return host, int(port)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def client(self, **settings: Any) -> httpx.Client:
        settings = {"headers": {"Authorization": TOKEN}, "timeout": 30.0, "trust_env": False, **settings}
        return httpx.Client(base_url=self.url, **settings)

    def predict(self, content: bytes, query: str = "", **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.post(f"/api/predict/{self.config.name}{query}", content=content, headers=headers)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def service_config(bundle: Bundle, **settings: Any) -> ServiceConfig:
    values: dict[str, Any] = {
        "name": "colours",
        "model": bundle.manifest.name,
        "bundle": str(bundle.folder),
        "digest": bundle.manifest.digest,
        "tokens": (STORED,),
        **settings,
    }
    return ServiceConfig(**values)


@contextlib.contextmanager
def running(folder: Path, plugins: Path, bundle: Bundle, **settings: Any) -> Iterator[Server]:
    """A service that is ready."""
    server = Server(folder, plugins, bundle, **settings)
    try:
        server.wait_ready()
        yield server
    finally:
        server.stop()
