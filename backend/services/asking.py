"""Asking a running service something ourselves: what it says of an image, its counts, its log.

The backend keeps no token of a service that it could send. It has one of its own for each, which it derives
from its secret key whenever it needs it; the hosts are told its hashes beside those of the users' tokens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin

import httpx

from backend.errors import ServiceUnreachable, WrongState
from backend.services.tables import Service
from backend.settings import Settings

OWN_TOKEN = 0  # the id that the hosts know our own token by; rows of the database begin at 1
MAX_IMAGE_BYTES = 20 * 1024**2  # a service reads 32 MiB of JSON, in which an image takes a third more
_TOKEN_BYTES = 54  # see `backend.services.tokens`
_SECONDS, _SOON = 30.0, 2.0


@dataclass(frozen=True)
class Reply:
    """What a service said of one image. `result` is empty when it refused: then `code` and `detail` say why.

    `seconds` is the whole way there and back.
    """

    model: str
    seconds: float
    result: Mapping[str, Any] = field(default_factory=dict)
    code: int = 0
    detail: str = ""


def own_token(settings: Settings, service_id: int) -> str:
    """Our own token of a service: 72 characters, the same each time."""
    label = f"sightloop.service.{service_id}".encode()
    digest = hmac.digest(settings.secret_key.encode(), label, hashlib.sha512)
    return base64.urlsafe_b64encode(digest[:_TOKEN_BYTES]).decode()


def hashes(token: str) -> dict[str, str]:
    """What a host is told of a token: `sha256` checks it, `signing_key` checks what it has signed."""
    return {
        "sha256": hashlib.sha256(token.encode()).hexdigest(),
        "signing_key": hashlib.sha1(token.encode(), usedforsecurity=False).hexdigest(),
    }


def predict(settings: Settings, service: Service, image: bytes, *, explain: bool = False) -> Reply:
    """The service's answer for an image file.

    Raises `WrongState` for a service that has no instance to answer, `ServiceUnreachable`.
    """
    body = {
        "dataArray": [{"name": "image", "type": "stream", "body": base64.b64encode(image).decode("ascii")}]
    }
    started = time.perf_counter()
    said = _call(settings, service, "POST", _endpoint(service), json=body, params=_query(explain))
    seconds = time.perf_counter() - started
    model = str(said.get("model", ""))
    if said.get("success") and isinstance(said.get("result"), dict):
        return Reply(model, seconds, said["result"])
    detail = str(said.get("errorDetail") or said.get("errorMsg") or "the service gave no reason")
    code = said.get("errorCode")
    return Reply(model, seconds, code=code if isinstance(code, int) else 0, detail=detail)


def log_lines(settings: Settings, service: Service) -> list[str]:
    """The last lines of the log of what runs of the service now, the newest last. Raises as `predict`."""
    said = _call(settings, service, "GET", urljoin(_endpoint(service), "/log"), timeout=_SOON)
    lines = said.get("lines")
    if not isinstance(lines, list):
        raise ServiceUnreachable(
            f"service {service.name!r} does not tell its log: it was started by an older release; "
            "stop it and start it again"
        )
    return [str(line) for line in lines]


def counts(settings: Settings, service: Service) -> str:
    """What its processes have counted since they started, as Prometheus reads it. Raises as `predict`."""
    url = urljoin(_endpoint(service), "/metrics")
    return _send(settings, service, "GET", url, timeout=_SOON).text


def _query(explain: bool) -> dict[str, str]:
    return {"explain": "true"} if explain else {}


def _endpoint(service: Service) -> str:
    if service.desired != "running" or not service.endpoint or not service.ready_instances:
        raise WrongState(
            f"service {service.name!r} is {service.state} and has no instance that could answer; "
            f"`sightloop services show {service.name}` says more"
        )
    return service.endpoint


def _call(settings: Settings, service: Service, method: str, url: str, **options: Any) -> dict[str, Any]:
    try:
        answer = _send(settings, service, method, url, **options).json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceUnreachable(f"what answers at {service.endpoint} is no service of Sightloop")
    return answer


def _send(
    settings: Settings, service: Service, method: str, url: str, *, timeout: float = _SECONDS, **options: Any
) -> httpx.Response:
    headers = {"Authorization": own_token(settings, service.id)}
    try:
        with httpx.Client(timeout=timeout, trust_env=False, headers=headers) as http:
            return http.request(method, url, **options)
    except httpx.HTTPError as error:
        raise ServiceUnreachable(
            f"service {service.name!r} does not answer at {service.endpoint} ({type(error).__name__}); "
            "try again in a moment"
        ) from None
