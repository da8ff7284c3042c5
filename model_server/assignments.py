"""What the backend wants of this host, and what this host answers: three calls of its REST interface."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from model_server.config import NAME, ConfigError, ServiceConfig, Token, parse

POLL_SECONDS = 10
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Desired = Literal["running", "stopped", "deleted"]
State = Literal["starting", "ready", "failed", "stopped", "deleted"]


class BackendAway(Exception):
    """The backend cannot be reached or does not answer as agreed; try again later."""


class AssignmentError(Exception):
    """One service cannot be run as asked; the message is a sentence."""


@dataclass(frozen=True)
class Assignment:
    """One service of this host as the backend wants it. `port` None leaves the choice to the host."""

    id: str
    name: str
    model: str
    digest: str
    instances: int
    quota: int
    desired: Desired
    revision: int
    port: int | None = None
    tokens: tuple[Token, ...] = ()
    rate_limit: float = 0.0

    @property
    def key(self) -> str:
        """Names the service's folder, log files and processes: two workspaces may use one name."""
        return f"{self.name}.{self.id}"

    def config(self, bundle: Path, host: str, port: int) -> ServiceConfig:
        """The configuration of its processes. Raises `AssignmentError`."""
        values = {
            "name": self.name,
            "model": self.model,
            "bundle": str(bundle),
            "digest": self.digest,
            "host": host,
            "port": port,
            "instances": self.instances,
            "quota": self.quota,
            "tokens": [asdict(token) for token in self.tokens],
            "rate_limit": self.rate_limit,
        }
        try:
            return parse(values)
        except ConfigError as error:
            raise AssignmentError(str(error)) from None


@dataclass(frozen=True)
class Report:
    """What has become of an assignment."""

    revision: int
    state: State
    ready_instances: int = 0
    port: int | None = None
    endpoint: str | None = None
    message: str = ""


def assignment(values: Mapping[str, Any]) -> Assignment:
    """One entry of the backend's answer. Raises `AssignmentError`."""
    known = {name: values[name] for name in Assignment.__dataclass_fields__ if name in values}
    try:
        tokens = tuple(Token(str(t["id"]), t["sha256"], t["signing_key"]) for t in values.get("tokens") or ())
        known |= {"id": str(values["id"]), "tokens": tokens, "rate_limit": values.get("rate_limit") or 0.0}
        made = Assignment(**known)
    except (KeyError, TypeError) as error:
        raise AssignmentError(f"the assignment lacks or misnames {error}") from None
    if not _ID.fullmatch(made.id) or not NAME.fullmatch(made.name):
        raise AssignmentError("the assignment's id or name holds characters that a file may not")
    if not re.fullmatch(r"[0-9a-f]{64}", made.digest) or made.desired not in (
        "running",
        "stopped",
        "deleted",
    ):
        raise AssignmentError(f"the assignment of {made.name} has a wrong digest or desired state")
    return made


@dataclass(frozen=True)
class Answer:
    """All services of this host at one revision; `faults` are entries that could not be understood, by id."""

    revision: int
    services: tuple[Assignment, ...]
    faults: Mapping[str, Report]


class Backend:
    """A client of the backend. Every method raises `BackendAway`; thread-safe."""

    def __init__(self, url: str, token: str) -> None:
        self._client = httpx.Client(
            base_url=f"{url.rstrip('/')}/api/v1/host",
            headers={"Authorization": f"Bearer {token}"},
            timeout=httpx.Timeout(10.0, read=POLL_SECONDS + 20.0),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def poll(self, revision: int) -> Answer | None:
        """Wait some seconds for something newer than `revision`; None if there is nothing."""
        response = self._send("GET", "/assignments", params={"revision": revision, "wait": POLL_SECONDS})
        if response.status_code in (204, 304):
            return None
        try:
            values = response.json()
            new, entries = int(values["revision"]), list(values["services"])
        except (ValueError, KeyError, TypeError) as error:
            raise BackendAway(f"the backend's assignments cannot be read: {error!r}") from None
        if new == revision:
            return None
        services, faults = [], {}
        for entry in entries:
            try:
                services.append(assignment(entry))
            except AssignmentError as error:
                report = Report(int(entry.get("revision") or 0), "failed", message=str(error))
                faults[str(entry.get("id"))] = report
        return Answer(new, tuple(services), faults)

    def fetch(self, digest: str, target: Path) -> None:
        """Write the bundle's zip into the file `target`, unverified."""
        try:
            with self._client.stream("GET", f"/bundles/{digest}") as response:
                if response.status_code != 200:
                    raise BackendAway(f"the backend answers {response.status_code} for bundle {digest[:12]}")
                with target.open("wb") as sink:
                    for chunk in response.iter_bytes(1024 * 1024):
                        sink.write(chunk)
        except httpx.HTTPError as error:
            raise BackendAway(f"the bundle cannot be fetched: {error!r}") from None

    def report(self, service_id: str, report: Report) -> None:
        """Tell what has become of a service. One that the backend does not know any more is no error."""
        self._send("PUT", f"/services/{service_id}", json=asdict(report), but=404)

    def _send(self, method: str, path: str, but: int = 0, **arguments: Any) -> httpx.Response:
        try:
            response = self._client.request(method, path, **arguments)
        except httpx.HTTPError as error:
            raise BackendAway(f"the backend cannot be reached: {error!r}") from None
        if response.status_code >= 400 and response.status_code != but:
            raise BackendAway(f"the backend answers {response.status_code} to {method} {path}")
        return response
