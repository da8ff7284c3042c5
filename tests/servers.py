"""Real servers for tests: a SeaweedFS with its S3 interface, and a proxy that breaks connections."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from backend.errors import AppError
from backend.storage import ObjectStore, StoreAddress

ACCESS_KEY, SECRET_KEY = "test-access", "test-secret-0123456789"
_READY_WITHIN = 60.0  # seconds


def free_ports(number: int) -> list[int]:
    """Ports that nobody used a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def weed_command(folder: Path, ports: Sequence[int], identities: Path) -> list[str]:
    """SeaweedFS with an S3 interface on `ports[0]` and seven more ports of its own, all on 127.0.0.1.

    * `master.peers=none`: without it a restart waits 12 to 19 s for an election in which nobody else votes;
      with it SIGTERM does not end the process, so it is killed (its data survives that).
    * `volume.max`: the default of 0 allows as many volumes as fit on the disk at full size; each bucket takes
      seven, and the twelfth bucket failed.
    """
    weed = Path(sys.executable).with_name("weed")
    s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = ports
    return [
        str(weed),
        "-logtostderr=true",
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-master.port.grpc={master_grpc}",
        "-master.peers=none",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=1024",
        f"-volume.port={volume}",
        f"-volume.port.grpc={volume_grpc}",
        "-volume.max=10000",
        "-filer",
        f"-filer.port={filer}",
        f"-filer.port.grpc={filer_grpc}",
        "-s3",
        f"-s3.port={s3}",
        f"-s3.port.grpc={s3_grpc}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        f"-s3.config={identities}",
    ]


@contextmanager
def seaweedfs(folder: Path, ports: Sequence[int] | None = None) -> Iterator[StoreAddress]:
    """A running store that keeps its data in `folder`; the same folder and ports give the same store back."""
    ports = ports or free_ports(8)
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    identities = folder / "s3.json"
    admin = {
        "name": "admin",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    identities.write_text(json.dumps({"identities": [admin]}))
    address = StoreAddress(f"http://127.0.0.1:{ports[0]}", ACCESS_KEY, SECRET_KEY)
    with (folder / "weed.log").open("ab") as log:
        process = subprocess.Popen(weed_command(data, ports, identities), stdout=log, stderr=log)
        try:
            _wait(process, address, folder / "weed.log")
            yield address
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: StoreAddress, log: Path) -> None:
    store = ObjectStore(address)
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            store.ensure_bucket("ready")
            store.put_bytes("ready", "ready", b"1")
            return
        except AppError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"SeaweedFS did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.05)
        finally:
            store.close()


class _Shared:
    stack: ExitStack | None = None
    address: StoreAddress | None = None
    users = 0


def object_store() -> Iterator[StoreAddress]:
    """The store that all tests of one run share: make a session fixture of it, as often as you like."""
    if _Shared.address is None:
        stack = ExitStack()
        folder = tempfile.mkdtemp(prefix="sightloop-test-store-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _Shared.address = stack.enter_context(seaweedfs(Path(folder)))
        _Shared.stack = stack
    _Shared.users += 1
    try:
        yield _Shared.address
    finally:
        _Shared.users -= 1
        if _Shared.users == 0 and _Shared.stack is not None:
            _Shared.stack.close()
            _Shared.stack = _Shared.address = None


@dataclass
class FaultProxy:
    """Passes TCP connections on to a port, and can break them.

    `cut_after`: bytes of answers, all connections together, after which every connection is cut. `answer`:
    what to say instead of asking the server. `silent`: take connections and never answer.
    """

    target: int
    port: int = 0
    cut_after: int | None = None
    answer: bytes | None = None
    silent: bool = False
    passed: int = 0
    connections: int = 0
    _open: list[socket.socket] = field(default_factory=list)

    def address(self, original: StoreAddress) -> StoreAddress:
        """The store as seen through this proxy."""
        return StoreAddress(
            f"http://127.0.0.1:{self.port}", original.access_key, original.secret_key, original.region
        )

    def heal(self) -> None:
        """Behave from now on."""
        self.cut_after, self.answer, self.silent, self.passed = None, None, False, 0

    def serve(self, listener: socket.socket) -> None:
        """Accept until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(client)
            threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def close(self) -> None:
        """Close every connection that is left."""
        for one in self._open:
            _shut(one)

    def _handle(self, client: socket.socket) -> None:
        if self.silent:
            return
        if self.answer is not None:
            with suppress(OSError):
                client.recv(65536)
                client.sendall(self.answer)
            _shut(client)
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            _shut(client)
            return
        self._open.append(server)
        threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
        self._pump(server, client, True)

    def _pump(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers and self.cut_after is not None:
                    data = data[: max(0, self.cut_after - self.passed)]
                if answers:
                    self.passed += len(data)
                sink.sendall(data)
                if answers and self.cut_after is not None and self.passed >= self.cut_after:
                    break
        _shut(source)
        _shut(sink)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def fault_proxy(address: StoreAddress) -> Iterator[FaultProxy]:
    """A proxy in front of a store."""
    proxy = FaultProxy(int(address.endpoint.rsplit(":", 1)[1]))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy.port = listener.getsockname()[1]
        thread = threading.Thread(target=proxy.serve, args=(listener,))
        thread.start()
        try:
            yield proxy
        finally:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()
            proxy.close()
