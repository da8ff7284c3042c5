"""A fake backend, a real supervisord and a real host process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from model_server.supervision import Supervisor, SupervisorError
from plugins import bundle as bundles
from plugins.bundle import Bundle
from tests.model_server.bundles import body, picture
from tests.model_server.servers import ROOT, STORED, TOKEN, environment, until

HOST_TOKEN = "host-token"


class FakeBackend:
    """The three endpoints that a host uses, with what was reported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.revision = 0
        self.services: dict[str, dict[str, Any]] = {}
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False
        self._changed = threading.Condition()
        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._httpd.daemon_threads = True
        self.port = self._httpd.server_address[1]
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()

    def offer(self, bundle: Bundle) -> None:
        """Make a bundle fetchable."""
        bundles.pack(bundle, self.folder / f"{bundle.manifest.digest}.zip")

    def want(self, service_id: str, bundle: Bundle | None = None, **changes: Any) -> int:
        """Create or change a service; returns its revision."""
        with self._changed:
            self.revision += 1
            entry = self.services.setdefault(service_id, _entry(service_id))
            if bundle is not None:
                entry |= {"model": bundle.manifest.name, "digest": bundle.manifest.digest}
            entry |= {**changes, "revision": self.revision}
            self._changed.notify_all()
            return self.revision

    def forget(self, service_id: str) -> None:
        with self._changed:
            self.revision += 1
            del self.services[service_id]
            self._changed.notify_all()

    def last(self, service_id: str) -> dict[str, Any]:
        return next((report for name, report in reversed(self.reports) if name == service_id), {})

    def wait(self, service_id: str, state: str, revision: int, count: int | None = None) -> dict[str, Any]:
        """The report of that state for that revision."""

        def there() -> dict[str, Any]:
            report = self.last(service_id)
            good = report.get("state") == state and report.get("revision") == revision
            return report if good and count in (None, report["ready_instances"]) else {}

        return until(there, f"{service_id} is {state} at {revision}: {self.reports[-3:]}", 60)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Every request is refused meanwhile."""
        with self._changed:
            self.refuses = True
            self._changed.notify_all()
        try:
            yield
        finally:
            self.refuses = False

    def assignments(self, revision: int, wait: float) -> dict[str, Any]:
        with self._changed:
            self._changed.wait_for(lambda: self.revision != revision or self.refuses, wait)
            return {"revision": self.revision, "services": list(self.services.values())}

    def _handler(backend) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                url = urlsplit(self.path)
                if self.headers["Authorization"] != f"Bearer {HOST_TOKEN}" or backend.refuses:
                    return self._send(503, b"")
                if url.path == "/api/v1/host/assignments":
                    query = parse_qs(url.query)
                    values = backend.assignments(int(query["revision"][0]), float(query["wait"][0]))
                    return self._send(200, json.dumps(values).encode())
                archive = backend.folder / f"{url.path.rpartition('/')[2]}.zip"
                return self._send(200, archive.read_bytes()) if archive.exists() else self._send(404, b"")

            def do_PUT(self) -> None:
                report = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.headers["Authorization"] == f"Bearer {HOST_TOKEN}"
                backend.reports.append((self.path.rpartition("/")[2], {**report, "at": time.monotonic()}))
                self._send(200, b"{}")

            def _send(self, status: int, content: bytes) -> None:
                with contextlib.suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def _entry(service_id: str) -> dict[str, Any]:
    token = {"id": STORED.id, "sha256": STORED.sha256, "signing_key": STORED.signing_key}
    return {
        "id": service_id,
        "name": "colours",
        "instances": 1,
        "quota": 1,
        "port": None,
        "tokens": [token],
        "desired": "running",
        "rate_limit": 0,
    }


class Machine:
    """One host: supervisord and `model_server.host` in a folder of their own."""

    def __init__(self, plugins: Path, backend: FakeBackend) -> None:
        # A unix socket's path may have 107 bytes, which the folders of pytest can exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="slhost"))
        self.backend = backend
        self.socket = self.folder / "supervisor.sock"
        self.supervisor = Supervisor(self.socket)
        self._environment = environment(plugins)
        self._ports = _free_range()
        (self.folder / "services.d").mkdir()
        (self.folder / "supervisord.conf").write_text(_CONFIGURATION.format(folder=self.folder))
        self._supervisord = self._start(
            "-m", "supervisor.supervisord", "-n", "-c", str(self.folder / "supervisord.conf")
        )
        until(self._answers, "supervisord answers")
        self._host = self._start_host()

    def _answers(self) -> bool:
        try:
            self.supervisor.states()
        except SupervisorError:
            return False
        return True

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as sink:
            return subprocess.Popen(
                [sys.executable, *arguments], env=self._environment, stdout=sink, stderr=sink, cwd=ROOT
            )

    def _start_host(self) -> subprocess.Popen[bytes]:
        self._environment |= {
            "SIGHTLOOP_API_URL": self.backend.url,
            "SIGHTLOOP_HOST_TOKEN": HOST_TOKEN,
            "SIGHTLOOP_HOST_DIR": str(self.folder),
            "SIGHTLOOP_HOST_PORTS": f"{self._ports}-{self._ports + 9}",
            "SIGHTLOOP_SUPERVISOR_SOCKET": str(self.socket),
        }
        return self._start("-m", "model_server.host")

    def slot_pids(self, key: str) -> set[int]:
        """The gunicorn processes of a service, by the files of its instances."""
        ready = (self.folder / "services" / key).glob("*.json.run/ready/*")
        return {int(path.name) for path in ready}

    def kill_host(self) -> None:
        self._host.kill()
        self._host.wait()

    def start_host(self) -> None:
        self._host = self._start_host()

    def close(self) -> None:
        for process in (self._host, self._supervisord):
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        shutil.rmtree(self.folder)


def predict(report: dict[str, Any], image: bytes | None = None) -> httpx.Response:
    """Ask the reported endpoint."""
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(
            report["endpoint"], content=body(image or picture("red")), headers={"Authorization": TOKEN}
        )


def _free_range() -> int:
    """The first of ten ports below those that the system gives to clients."""
    start = 20000 + os.getpid() % 900 * 10
    for first in range(start, start + 3000, 10):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + 10):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no ten free ports")


@contextlib.contextmanager
def machine(folder: Path, plugins: Path) -> Iterator[Machine]:
    """A running host with its backend."""
    backend = FakeBackend(folder)
    try:
        started = Machine(plugins, backend)
        try:
            yield started
        finally:
            started.close()
    finally:
        backend.close()


_CONFIGURATION = """[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
nodaemon=true
[unix_http_server]
file={folder}/supervisor.sock
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[include]
files={folder}/services.d/*.conf
"""
