"""The API's real gunicorn, with clients that begin and do not go on."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from backend.cli.embedded import certificates, programs
from backend.cli.embedded.home import Home
from tests.cli.program import eventually

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
HELLO = b"\x16\x03\x01\x02\x00"  # the beginning of a TLS handshake

# The limits of the product would make these tests slow; the app answers with what it was sent.
CONFIGURATION = """
from backend.cli.embedded import apiserver
from backend.cli.embedded.apiserver import post_fork, worker_class

apiserver.HEAD_SECONDS = apiserver.STALL_SECONDS = 1
"""
APP = """
def app(environ, start_response):
    length = len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(length).encode()]
"""


@dataclass(frozen=True)
class Api:
    """Where it listens."""

    port: int
    scheme: str

    def ask(self, content: bytes = b"") -> str | None:
        """What it answers, None while it does not."""
        try:
            with httpx.Client(trust_env=False, verify=False, timeout=10) as client:
                return client.post(f"{self.scheme}://127.0.0.1:{self.port}/", content=content).text
        except httpx.TransportError:
            return None

    @contextmanager
    def stalled(self, start: bytes, within: bool = False) -> Iterator[list[socket.socket]]:
        """As many clients as there are threads, each of which sends this and no more; `within`: by TLS where
        the API speaks it.
        """
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with ExitStack() as stack:
            clients = []
            for _ in range(8):
                client = socket.create_connection(("127.0.0.1", self.port), timeout=60)
                if within and self.scheme == "https":
                    client = context.wrap_socket(client)
                clients.append(stack.enter_context(client))
                client.sendall(start)
            yield clients


@pytest.fixture(params=["http", "https"])
def api(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    found = certificates.ensure(Home(tmp_path / "data"), ["127.0.0.1"])
    tls = ("--certfile", str(found.chain), "--keyfile", str(found.key)) if request.param == "https" else ()
    (tmp_path / "tiny.py").write_text(APP)
    (tmp_path / "quick.conf.py").write_text(CONFIGURATION)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = [*programs._gunicorn(f"fd://{listener.fileno()}", *tls, workers=1)[:-1]]
        command[command.index("--config") + 1] = str(tmp_path / "quick.conf.py")
        started = subprocess.Popen(
            [*command, "--chdir", str(tmp_path), "tiny:app"],
            pass_fds=[listener.fileno()],
            stderr=subprocess.DEVNULL,
        )
        api = Api(listener.getsockname()[1], request.param)
    try:
        eventually(api.ask)
        yield api
    finally:
        started.terminate()
        started.wait(30)


def test_clients_that_begin_a_request_and_stop_are_cut_off(api: Api) -> None:
    with api.stalled(HEAD if api.scheme == "http" else HELLO) as clients:
        assert [_ended(client) for client in clients] == [True] * 8
        assert api.ask(b"four") == "4"


def test_clients_that_stop_in_a_body_are_cut_off(api: Api) -> None:
    with api.stalled(HEAD + b"\r\nabc", within=True) as clients:
        assert [_ended(client) for client in clients] == [True] * 8
    assert api.ask(b"four") == "4"


def _ended(client: socket.socket) -> bool:
    """Whether the server ends the connection, whatever it says before. Raises `TimeoutError`."""
    try:
        while client.recv(65536):
            pass
    except (ConnectionError, ssl.SSLError):
        pass
    return True
