"""Addresses of servers: which two mean the same one, and which one a phone in the same network reaches."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from backend.settings import Settings

# Reserved for documentation (RFC 5737): nothing is sent there, the system only says which way it would go.
_ELSEWHERE = ("192.0.2.1", 9)


def lan_address() -> str | None:
    """This machine's IPv4 address in its network; None where it has none but loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ELSEWHERE)
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if is_loopback(found) else found


def for_phones(settings: Settings, seen: str) -> str | None:
    """The base URL for phones; None when the API listens for this machine alone. `seen` is the base URL at
    which the owner's browser has the console, right where no setting says better.
    """
    if settings.phone_url or settings.public_url:
        return settings.phone_url or settings.public_url
    parts = urlsplit(seen)
    if parts.hostname and not is_loopback(parts.hostname):
        return seen.rstrip("/")
    if is_loopback(settings.host):
        return None
    host = lan_address() if settings.host in ("0.0.0.0", "::") else settings.host
    return f"{parts.scheme}://{host}:{settings.port}" if host else None


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_same_server(one: str, other: str) -> bool:
    """Whether two http(s) URLs lead to the same host and port, as far as their texts tell."""
    return _server(one) == _server(other)


def _server(url: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:  # no address at all is the same as itself only
        return url, None
    host = parts.hostname or ""
    return "localhost" if is_loopback(host) else host, port
