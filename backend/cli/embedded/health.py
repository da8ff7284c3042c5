"""Whether each program of the stack answers: None when it does, otherwise what is wrong."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import partial

import httpx
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from backend.cli.embedded import certificates, programs
from backend.cli.embedded.home import Choices, Home
from backend.cli.embedded.ports import LOOPBACK, Ports, reachable

Check = Callable[[], str | None]


def checks(home: Home, choices: Choices) -> Mapping[str, Check]:
    """One check a program, by the program's name; a program without one is well when it runs."""
    ports = Ports(choices.port)
    redis = connect(home, ports)
    workers = {name: partial(worker_serves, redis, name.removeprefix("worker-")) for name in programs.WORKERS}
    return {
        programs.VALKEY: lambda: valkey_answers(redis),
        programs.STORE: lambda: store_answers(ports),
        programs.API: lambda: api_is_ready(programs.api_url(choices)),
        programs.API_HTTPS: lambda: https_is_ready(home, choices),
        programs.LABEL_STUDIO: lambda: label_studio_answers(programs.label_studio_url(choices)),
        programs.ML_BACKEND: lambda: ml_backend_answers(programs.ml_backend_url(choices)),
        **workers,
    }


def connect(home: Home, ports: Ports) -> Redis:
    """A connection that gives up at once, so that asking again is left to the asker."""
    return Redis.from_url(
        programs.redis_url(home, ports),
        socket_connect_timeout=2,
        socket_timeout=2,
        retry=Retry(NoBackoff(), 0),
    )


def valkey_answers(redis: Redis) -> str | None:
    """Ask with the password; a server that is still loading its file says so."""
    try:
        redis.ping()
    except RedisError as error:
        return f"Valkey does not answer ({error})"
    return None


def store_answers(ports: Ports) -> str | None:
    """The S3 interface answers, and the storage behind it has registered itself."""
    try:
        httpx.get(f"http://{LOOPBACK}:{ports.s3}/healthz", timeout=3, trust_env=False).raise_for_status()
        master = f"http://{LOOPBACK}:{ports.store['master.port']}/dir/status"
        topology = httpx.get(master, timeout=3, trust_env=False).raise_for_status().json()["Topology"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"the object store does not answer ({type(error).__name__})"
    return None if topology.get("Max") else "the object store has no room, or is still starting"


def https_is_ready(home: Home, choices: Choices) -> str | None:
    """The same by https, with a certificate that its authority vouches for."""
    url = f"https://{reachable(choices.host)}:{Ports(choices.port).https}"
    try:
        trusted = ssl.create_default_context(cafile=certificates.files(home).authority)
    except OSError as error:
        return f"the certificate of https cannot be read ({error})"
    return api_is_ready(url, trusted)


def api_is_ready(url: str, verify: ssl.SSLContext | bool = True) -> str | None:
    """`/health/ready` says 200; otherwise its own reason."""
    try:
        answer = httpx.get(f"{url}/health/ready", timeout=5, trust_env=False, verify=verify)
    except httpx.HTTPError as error:
        return f"the API does not answer ({type(error).__name__})"
    if answer.status_code == httpx.codes.OK:
        return None
    return f"the API is not ready: {answer.text[:300].strip()}"


def label_studio_answers(url: str) -> str | None:
    """`/health/` says that it is up."""
    try:
        answer = httpx.get(f"{url}/health/", timeout=3, trust_env=False).raise_for_status().json()
    except (httpx.HTTPError, ValueError) as error:
        return f"Label Studio does not answer at {url} ({type(error).__name__})"
    up = isinstance(answer, dict) and answer.get("status") == "UP"
    return None if up else f"what answers at {url} is not Label Studio"


def ml_backend_answers(url: str) -> str | None:
    """`/health` says 200."""
    try:
        httpx.get(f"{url}/health", timeout=3, trust_env=False).raise_for_status()
    except httpx.HTTPError as error:
        return f"the ML backend does not answer ({type(error).__name__})"
    return None


def worker_serves(redis: Redis, queue: str) -> str | None:
    """A living worker has registered itself for the queue."""
    from backend.errors import QueueUnavailable  # noqa: PLC0415 - RQ takes a third of a second to import
    from backend.queue import served_queues  # noqa: PLC0415

    try:
        served = served_queues(redis)
    except QueueUnavailable as error:
        return str(error)
    return None if queue in served else f"no worker serves the queue {queue!r}"
