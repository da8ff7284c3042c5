"""Which ports a stack uses, and who else uses one of them."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

import psutil

from backend.cli.embedded.home import Home
from backend.cli.errors import PortTaken

LOOPBACK = "127.0.0.1"
LOWEST, HIGHEST = 1024, 65436
_EVERYWHERE = {"", "0.0.0.0", "localhost", "127.0.0.1"}


@dataclass(frozen=True)
class Ports:
    """The plan: everything follows from the base port. Services use the range at the end."""

    base: int

    @property
    def api(self) -> int:
        """The REST API and the console."""
        return self.base

    @property
    def s3(self) -> int:
        """The object store's S3 interface."""
        return self.base + 1

    @property
    def valkey(self) -> int:
        """The queue."""
        return self.base + 2

    @property
    def store(self) -> dict[str, int]:
        """The object store's inner ports, by the name of SeaweedFS' option."""
        names = (
            "master.port",
            "volume.port",
            "filer.port",
            "master.port.grpc",
            "volume.port.grpc",
            "filer.port.grpc",
            "s3.port.grpc",
        )
        return {name: self.base + 3 + number for number, name in enumerate(names)}

    @property
    def label_studio(self) -> int:
        """Label Studio."""
        return self.base + 10

    @property
    def ml_backend(self) -> int:
        """What Label Studio asks for predictions."""
        return self.base + 11

    @property
    def https(self) -> int:
        """The console and the REST API by https."""
        return self.base + 12

    @property
    def services(self) -> str:
        """The range in which the model host gives each instance a port."""
        return f"{self.base + 20}-{self.base + 99}"

    def fixed(self) -> list[int]:
        """Every port that is listened on as soon as the stack runs."""
        outward = (self.api, self.label_studio, self.ml_backend, self.https)
        return [*outward, self.s3, self.valkey, *self.store.values()]


def reachable(host: str) -> str:
    """The address at which a program on this machine reaches a server that listens on `host`."""
    return LOOPBACK if host in _EVERYWHERE else host


def require_free(ports: Ports, host: str) -> None:
    """Raises `PortTaken` when something else listens on a port of the plan."""
    for port in ports.fixed():
        outward = (ports.api, ports.label_studio, ports.ml_backend, ports.https)
        address = host if port in outward else LOOPBACK
        if not _is_free(address, port):
            raise PortTaken(
                f"port {port} is taken by {_owner(port)}; "
                f"choose other ports with `sightloop up --port {_advice(ports)}`"
            )


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise PortTaken(
                f"nothing can listen on {host} port {port} ({error.strerror}); "
                "name an address of this machine with --host and a port with --port"
            ) from None
    return True


def _owner(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return _describe(psutil.Process(connection.pid))
    except psutil.Error:
        pass
    return "another program"


def _describe(process: psutil.Process) -> str:
    try:
        stack = process.environ().get("SIGHTLOOP_SUPERVISOR_HOME", "")
    except psutil.Error:
        stack = ""
    if stack:
        return f"the Sightloop stack of {stack}"
    return f"{process.name()} (pid {process.pid})"


def _advice(ports: Ports) -> int:
    """The next base port, in steps of 100, all of whose ports are free."""
    for base in range(ports.base - ports.base % 100 + 100, HIGHEST, 100):
        if all(_is_free(LOOPBACK, port) for port in Ports(base).fixed()):
            return base
    return LOWEST


def current(home: Home) -> Ports | None:
    """The ports of a stack that was started before."""
    choices = home.choices()
    return Ports(choices.port) if choices else None
