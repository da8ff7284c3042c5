"""The settings of a host, from `SIGHTLOOP_*` variables."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_KNOWN = {
    "SIGHTLOOP_HOST_TOKEN",
    "SIGHTLOOP_HOST_DIR",
    "SIGHTLOOP_HOST_BIND",
    "SIGHTLOOP_HOST_PORTS",
    "SIGHTLOOP_HOST_NAME",
}


class SettingsError(Exception):
    """A setting is missing, wrong or unknown; the message is a sentence that names it."""


@dataclass(frozen=True)
class HostSettings:
    """`bind` is the address on which services listen, `name` what clients call this host in a URL, `ports`
    the first and the last port that may be given to a service.
    """

    api_url: str
    token: str
    folder: Path
    supervisor_socket: Path
    bind: str = "127.0.0.1"
    name: str = "127.0.0.1"
    ports: tuple[int, int] = (8720, 8799)


def from_environment(environment: Mapping[str, str]) -> HostSettings:
    """The settings. Raises `SettingsError`."""
    unknown = sorted(n for n in environment if n.startswith("SIGHTLOOP_HOST_") and n not in _KNOWN)
    if unknown:
        raise SettingsError(f"unknown setting: {', '.join(unknown)}")
    bind = environment.get("SIGHTLOOP_HOST_BIND", "127.0.0.1")
    if not re.fullmatch(r"[0-9.]+|[A-Za-z0-9.-]+", bind):
        raise SettingsError("SIGHTLOOP_HOST_BIND must be an IPv4 address or a host name")
    return HostSettings(
        api_url=_needed(environment, "SIGHTLOOP_API_URL"),
        token=_needed(environment, "SIGHTLOOP_HOST_TOKEN"),
        folder=Path(_needed(environment, "SIGHTLOOP_HOST_DIR")).absolute(),
        supervisor_socket=Path(_needed(environment, "SIGHTLOOP_SUPERVISOR_SOCKET")).absolute(),
        bind=bind,
        name=environment.get("SIGHTLOOP_HOST_NAME") or (socket.gethostname() if bind == "0.0.0.0" else bind),
        ports=_ports(environment.get("SIGHTLOOP_HOST_PORTS", "8720-8799")),
    )


def _needed(environment: Mapping[str, str], name: str) -> str:
    if value := environment.get(name):
        return value
    raise SettingsError(f"{name} must be set")


def _ports(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
        raise SettingsError("SIGHTLOOP_HOST_PORTS must be two ports such as 8720-8799")
    return int(match[1]), int(match[2])
