"""The configuration of a process: one frozen `Settings` from `SIGHTLOOP_*` environment variables.

A value that cannot be used, or a variable that nobody knows, stops the process with one sentence. What a
training can be told lives with its plugin, not here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class SettingsError(Exception):
    """A setting is wrong; the message names the variable, the value and what is expected."""


def _setting(default: Any, help: str, *, secret: bool = False) -> Any:
    metadata = {"help": help, "secret": secret}
    if callable(default):
        return field(default_factory=default, repr=not secret, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


def _home() -> Path:
    return Path("~/.sightloop").expanduser()


@dataclass(frozen=True)
class Settings:
    """Every setting with its default. The variable's name is `SIGHTLOOP_` + the field's name in capitals."""

    data_dir: Path = _setting(_home, "folder that holds everything of this stack")
    host: str = _setting("127.0.0.1", "address that the servers listen on")
    port: int = _setting(8700, "port of the REST API; the other servers of `sightloop up` use the next ones")
    api_url: str = _setting("", "base URL of the REST API for clients (default: from the data directory)")
    api_token: str = _setting("", "bearer token for clients (default: from the data directory)", secret=True)
    admin_token: str = _setting("", "bearer token that always belongs to the administrator", secret=True)
    host_token: str = _setting("", "bearer token with which model hosts speak to the API", secret=True)
    secret_key: str = _setting("", "base64 key of 32 bytes that encrypts stored credentials", secret=True)
    database_url: str = _setting("", "SQLAlchemy URL (default: SQLite in the data directory)", secret=True)
    redis_url: str = _setting("redis://127.0.0.1:6379/0", "Valkey or Redis of the queue", secret=True)
    s3_endpoint: str = _setting("http://127.0.0.1:8333", "object store for models, snapshots and checkpoints")
    s3_access_key: str = _setting("", "access key of that store")
    s3_secret_key: str = _setting("", "secret key of that store", secret=True)
    s3_region: str = _setting("us-east-1", "region of that store")
    s3_bucket: str = _setting("sightloop", "bucket of that store, closed to images; made when missing")
    public_url: str = _setting("", "address at which browsers reach the API (default: the API's own URL)")
    phone_url: str = _setting("", "address at which phones reach the console (default: found out)")
    label_studio_url: str = _setting("", "address of Label Studio; empty: there is none")
    label_studio_public_url: str = _setting("", "address at which browsers reach it (default: the same)")
    label_studio_token: str = _setting("", "access token of a Label Studio user", secret=True)
    label_studio_bin: str = _setting(
        "", "the program label-studio that `sightloop up` runs (default: the one of `make label-studio`)"
    )
    ml_backend_url: str = _setting("", "address at which Label Studio reaches the ML backend; empty: none")
    ml_backend_token: str = _setting("", "secret from which its passwords are derived", secret=True)
    max_image_bytes: int = _setting(50 * 1024**2, "largest image file that is read, in bytes")
    max_image_pixels: int = _setting(64_000_000, "largest image that is decoded, in pixels")
    threads: int = _setting(0, "CPU threads of one training or check; 0 takes all cores")
    train_processes: int = _setting(1, "processes that share one training on the CPU; on GPUs it is --gpus")
    time_budget: int = _setting(600, "seconds of training when a task names no budget")
    gpus: str = _setting("", "GPUs that this worker serves, such as 0,1; empty finds out, none uses the CPU")
    weights_dir: str = _setting("", "folder of pretrained weights (default: weights in the data directory)")
    offline: bool = _setting(False, "true: never download pretrained weights")
    lost_after: int = _setting(60, "seconds without a heartbeat after which a worker counts as lost")
    log_level: str = _setting("info", "debug, info, warning or error")

    @property
    def database(self) -> str:
        """The SQLAlchemy URL to use."""
        return self.database_url or f"sqlite:///{self.data_dir / 'sightloop.db'}"

    @property
    def weights(self) -> Path:
        """The folder of pretrained weights that do not come with a package."""
        return Path(self.weights_dir) if self.weights_dir else self.data_dir / "weights"

    @property
    def cpu_threads(self) -> int:
        """Threads to use, at least 1."""
        return self.threads or os.cpu_count() or 1


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return parse


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("true or false")
    return text.lower() == "true"


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def _beginning_with(pattern: str, what: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.match(pattern, text):
            raise ValueError(what)
        return text

    return parse


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        complete = parts.hostname and (parts.port is None or parts.port)
    except ValueError:  # brackets without an end, a port that is no number
        complete = False
    if not complete or not text.startswith(("http://", "https://")):
        raise ValueError("an http:// or https:// address")
    return text.rstrip("/")


_PARSERS: dict[str, Callable[[str], Any]] = {
    "data_dir": lambda text: Path(text).expanduser().absolute(),
    "port": _between(1, 65535),
    "api_url": _url,
    "database_url": _beginning_with(
        r"\w+(\+\w+)?://", "an SQLAlchemy URL, such as postgresql+psycopg://user:password@host/name"
    ),
    "redis_url": _beginning_with(r"(rediss?|unix)://", "a redis://, rediss:// or unix:// address"),
    "s3_endpoint": _url,
    "public_url": _url,
    "phone_url": _url,
    "label_studio_url": _url,
    "label_studio_public_url": _url,
    "ml_backend_url": _url,
    "max_image_bytes": _between(1, 2**31),
    "max_image_pixels": _between(1, 2**31),
    "threads": _between(0, 1024),
    "train_processes": _between(1, 64),
    "time_budget": _between(1, 7 * 24 * 3600),
    "weights_dir": lambda text: str(Path(text).expanduser().absolute()),
    "offline": _truth,
    "lost_after": _between(5, 24 * 3600),
    "log_level": _one_of("debug", "info", "warning", "error"),
}

OTHERS = frozenset(
    f"SIGHTLOOP_{name}"
    for name in (
        "SERVICE_CONFIG",
        "SERVICE_LOG",
        "SERVICE_TOKEN",
        "HOST_BIND",
        "HOST_DIR",
        "HOST_NAME",
        "HOST_PORTS",
        "LISTEN_FD",
        "SUPERVISOR_HOME",
        "SUPERVISOR_SOCKET",
        "BENCH_DATA",
        "BENCH_STORE",
    )
)
"""Variables of the same family that other programs read; any other unknown one is an error."""


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment (or from `environ`).

    Raises `SettingsError` for a value that cannot be used and for an unknown `SIGHTLOOP_*` variable.
    """
    environ = os.environ if environ is None else environ
    known = {f"SIGHTLOOP_{field.name.upper()}": field.name for field in fields(Settings)}
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith("SIGHTLOOP_"):
            continue
        name = known.get(variable)
        if name is None:
            if variable in OTHERS:
                continue
            raise SettingsError(f"{variable} is no setting of Sightloop; see the list in README.md")
        if text == "":
            continue
        try:
            values[name] = _PARSERS.get(name, str)(text)
        except ValueError as error:
            shown = "that value" if _is_secret(name) else repr(text)
            raise SettingsError(f"{variable} cannot be {shown}: it must be {error}") from None
    return Settings(**values)


def _is_secret(name: str) -> bool:
    return any(field.metadata["secret"] for field in fields(Settings) if field.name == name)
