"""What one service is told: a JSON file, written by the host and read by every process of the service.

The file holds secrets (the signing keys of the tokens), so it is written with mode 0600. A wrong value or an
unknown key stops the process with one sentence: a service must not run with a setting that it does not know.
"""

from __future__ import annotations

import json
import logging
import os
import re
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

ENVIRONMENT = "SIGHTLOOP_SERVICE_CONFIG"
LOG_ENVIRONMENT = "SIGHTLOOP_SERVICE_LOG"  # the file that the output of the service goes to
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX40 = re.compile(r"[0-9a-f]{40}")
_LOOK_AGAIN_SECONDS = 0.5  # so a change of tokens reaches every process well within a second

# Not structlog: this module is also imported where only a name of it is needed, and must load fast.
_log = logging.getLogger(__name__)


class ConfigError(Exception):
    """The file cannot be used; the message is one sentence that names the key."""


@dataclass(frozen=True)
class Token:
    """One token of a service; the token itself is known to its owner only.

    `sha256` checks a token that was sent. `signing_key` is the hex SHA-1 of the token and checks a signature
    made with it: see `model_server.auth`.
    """

    id: str
    sha256: str
    signing_key: str


@dataclass(frozen=True)
class ServiceConfig:
    """One service. `quota` is the budget of each instance: 1 is one CPU core and 4 GiB.

    `queue_size` requests may wait in each instance, none longer than `deadline_seconds`; a client has
    `read_seconds` to send one. `rate_limit` is in
    requests a second over all instances, 0 for no limit. `port` 0 takes a free one.
    """

    name: str
    model: str
    bundle: str
    digest: str
    host: str = "127.0.0.1"
    port: int = 0
    instances: int = 1
    quota: int = 1
    tokens: tuple[Token, ...] = ()
    queue_size: int = 32
    deadline_seconds: float = 5.0
    read_seconds: float = 20.0
    max_body_bytes: int = 32 * 1024 * 1024
    max_images: int = 16
    rate_limit: float = 0.0


_BOUNDS: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "instances": (1, 256),
    "quota": (1, 256),
    "queue_size": (0, 512),
    "deadline_seconds": (0.1, 600),
    "read_seconds": (1, 600),
    "max_body_bytes": (1024, 1024**3),
    "max_images": (1, 1000),
    "rate_limit": (0, 1_000_000),
}
_FRACTIONS = {"deadline_seconds", "read_seconds", "rate_limit"}


def read(path: Path) -> ServiceConfig:
    """The configuration in the file. Raises `ConfigError`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} does not hold a JSON object")
    return parse(values)


def parse(values: dict[str, Any]) -> ServiceConfig:
    """The configuration in the values of a JSON object. Raises `ConfigError`."""
    known = {field.name for field in fields(ServiceConfig)}
    if unknown := sorted(values.keys() - known):
        raise ConfigError(f"unknown setting: {', '.join(unknown)}")
    _check_texts(values)
    for key, (low, high) in _BOUNDS.items():
        if key in values:
            _check_number(key, values[key], low, high)
    tokens = values.get("tokens", [])
    if not isinstance(tokens, list):
        raise ConfigError("tokens must be a list")
    return ServiceConfig(**{**values, "tokens": tuple(_token(entry) for entry in tokens)})


def _check_texts(values: dict[str, Any]) -> None:
    for key in ("name", "model", "bundle", "digest"):
        if key not in values:
            raise ConfigError(f"{key} is missing")
    for key in ("name", "model", "bundle", "digest", "host"):
        if not isinstance(values.get(key, ""), str):
            raise ConfigError(f"{key} must be a text")
    if not NAME.fullmatch(values["name"]):
        raise ConfigError("name must be 1 to 30 letters, digits, _ and -, starting with a letter or digit")
    if not _HEX64.fullmatch(values["digest"]):
        raise ConfigError("digest must be 64 hex digits")


def _check_number(key: str, value: Any, low: float, high: float) -> None:
    kinds = (int, float) if key in _FRACTIONS else (int,)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        whole = "a number" if key in _FRACTIONS else "a whole number"
        raise ConfigError(f"{key} must be {whole} from {low:g} to {high:g}, not {value!r}")


def _token(entry: Any) -> Token:
    if not isinstance(entry, dict) or entry.keys() != {"id", "sha256", "signing_key"}:
        raise ConfigError("each of tokens must have exactly id, sha256 and signing_key")
    token = Token(str(entry["id"]), str(entry["sha256"]), str(entry["signing_key"]))
    if not _HEX64.fullmatch(token.sha256) or not _HEX40.fullmatch(token.signing_key):
        raise ConfigError(f"token {token.id}: sha256 must be 64 hex digits and signing_key 40")
    return token


def write(path: Path, config: ServiceConfig) -> None:
    """Replace the file in one step; a reader sees the old or the new one, whole."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(asdict(config), stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


class LiveConfig:
    """The configuration as it is now: the file is looked at again after half a second at the earliest.

    A file that has become unreadable changes nothing but the log; the last good configuration holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._look()
        self._config = read(path)
        self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._lock = threading.Lock()

    def current(self) -> ServiceConfig:
        """The configuration in force."""
        if time.monotonic() >= self._next_look:
            with self._lock:
                self._refresh()
        return self._config

    def _refresh(self) -> None:
        self._next_look = time.monotonic() + _LOOK_AGAIN_SECONDS
        stamp = self._look()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._config = read(self.path)
        except ConfigError as error:
            _log.error("the changed configuration is not used: %s", error)

    def _look(self) -> tuple[int, int, int]:
        try:
            status = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_ino, status.st_mtime_ns, status.st_size)
