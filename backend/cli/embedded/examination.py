"""What `sightloop doctor` asks of a running stack: each program does what it is there for."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

import httpx
from redis import Redis
from redis.exceptions import RedisError

from backend.cli.embedded import health, inspection, labelcheck, programs
from backend.cli.embedded.diagnosis import OK, PROBLEM, Verdict
from backend.cli.embedded.home import Choices, Home
from backend.cli.embedded.ports import LOOPBACK, Ports
from backend.errors import AppError
from backend.storage import ObjectStore, StoreAddress

_BUCKET = "sightloop"


def supervisor(home: Home) -> Verdict:
    """supervisord answers and its programs run."""
    state, lines = inspection.status(home)
    if state == "stopped":
        return Verdict("stack", PROBLEM, "it does not run", "run `sightloop up`")
    bad = [f"{line.name} {line.state}" for line in lines if line.state != "running"]
    if bad:
        fix = f"run `sightloop up`; its log is in {home.logs}"
        return Verdict("stack", PROBLEM, ", ".join(bad), fix)
    return Verdict("stack", OK, f"{len(lines)} programs run")


def queue(home: Home, redis: Redis) -> Verdict:
    """Valkey answers and what it takes survives a restart."""
    fix = f"see {home.logs / 'valkey.log'}, then run `sightloop up`"
    try:
        redis.ping()
        found: Any = redis.info("persistence")
    except RedisError as error:
        return Verdict("queue", PROBLEM, f"Valkey does not answer ({error})", fix)
    if not found.get("aof_enabled") or found.get("aof_last_write_status") != "ok":
        return Verdict(
            "queue", PROBLEM, "Valkey does not write its append-only file", f"free some room; {fix}"
        )
    return Verdict("queue", OK, "Valkey answers and keeps what it takes")


def store(home: Home, ports: Ports) -> Verdict:
    """An object can be written, read and deleted."""
    address = StoreAddress(
        f"http://{LOOPBACK}:{ports.s3}", home.secret("s3-access-key"), home.secret("s3-secret-key")
    )
    client = ObjectStore(address, read_timeout=10)
    key, content = f"doctor/{secrets.token_hex(8)}", secrets.token_bytes(64)
    try:
        client.ensure_bucket(_BUCKET)
        client.put_bytes(_BUCKET, key, content)
        same = client.read(_BUCKET, key, len(content)) == content
        client.delete(_BUCKET, [key])
    except AppError as error:
        return Verdict(
            "store", PROBLEM, str(error), f"see {home.logs / 'store.log'}, then run `sightloop up`"
        )
    finally:
        client.close()
    if not same:
        return Verdict("store", PROBLEM, "an object came back changed", "check the disk")
    return Verdict("store", OK, "an object was written, read and deleted")


def api(home: Home, choices: Choices) -> Verdict:
    """The API is ready."""
    trouble = health.api_is_ready(programs.api_url(choices))
    if trouble:
        return Verdict("api", PROBLEM, trouble, f"see {home.logs / 'api.log'}, then run `sightloop up`")
    return Verdict("api", OK, f"ready at {programs.api_url(choices)}")


def workers(home: Home, redis: Redis) -> Verdict:
    """A worker has registered itself for each queue."""
    for name in programs.WORKERS:
        trouble = health.worker_serves(redis, name.removeprefix("worker-"))
        if trouble:
            return Verdict(
                "workers", PROBLEM, trouble, f"see {home.logs / name}.log, then run `sightloop up`"
            )
    return Verdict("workers", OK, "training, sync and check have workers")


def host_token(home: Home, choices: Choices) -> Verdict:
    """The API takes the token with which the model host speaks to it."""
    name, url = "model host", f"{programs.api_url(choices)}/api/v1/host/assignments"
    headers = {"Authorization": f"Bearer {home.secret('host-token')}"}
    try:
        answer = httpx.get(url, headers=headers, timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        return Verdict(
            name, PROBLEM, f"the API does not answer ({type(error).__name__})", "run `sightloop up`"
        )
    if answer.is_success:
        return Verdict(name, OK, "the API takes its token")
    fix = "run `sightloop down`, then `sightloop up`: the API takes the token over when it starts"
    return Verdict(name, PROBLEM, f"the API refuses its token ({answer.status_code})", fix)


def running(home: Home, choices: Choices) -> list[Callable[[], Verdict]]:
    """Every check of this module, for a stack that was started."""
    redis, ports = health.connect(home, Ports(choices.port)), Ports(choices.port)
    return [
        lambda: queue(home, redis),
        lambda: store(home, ports),
        lambda: api(home, choices),
        lambda: workers(home, redis),
        lambda: host_token(home, choices),
        lambda: labelcheck.label_studio(home, choices),
        lambda: labelcheck.ml_backend(home, choices),
    ]
