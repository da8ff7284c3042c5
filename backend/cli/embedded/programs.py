"""The programs of the stack: what each is started with, and the configuration files that they read.

Secrets travel in environments and in files that only this user can read, never on a command line.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from backend.addresses import is_loopback, lan_address
from backend.cli.embedded import binaries, certificates, labelstudio
from backend.cli.embedded.home import Choices, Home, write_private
from backend.cli.embedded.ports import LOOPBACK, Ports, reachable

VALKEY, STORE, API, API_HTTPS, HOST = "valkey", "store", "api", "api-https", "host"
LABEL_STUDIO, ML_BACKEND = "label-studio", "ml-backend"
WORKERS = ("worker-train", "worker-data")
NAMES = (VALKEY, STORE, API, API_HTTPS, *WORKERS, HOST, ML_BACKEND, LABEL_STUDIO)

# What the stack decides; the rest of SIGHTLOOP_* is taken over from the shell that ran `up`.
_DECIDED = frozenset(
    f"SIGHTLOOP_{name}"
    for name in (
        *("DATA_DIR", "HOST", "PORT", "API_URL", "API_TOKEN", "ADMIN_TOKEN", "HOST_TOKEN", "SECRET_KEY"),
        *("REDIS_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_REGION", "S3_BUCKET"),
        *("LABEL_STUDIO_URL", "LABEL_STUDIO_TOKEN", "ML_BACKEND_TOKEN"),
    )
)


@dataclass(frozen=True)
class Program:
    """One program under supervisord. Lower `order` starts first and stops last."""

    name: str
    order: int
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_seconds: int = 15


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def api_url(choices: Choices) -> str:
    """The base URL at which programs on this machine reach the API."""
    return f"http://{reachable(_plain_host(choices))}:{choices.port}"


def _plain_host(choices: Choices) -> str:
    """Where the API answers without TLS: with https to this machine alone, unless a Label Studio of the
    user, which may be elsewhere, has to reach it.
    """
    return LOOPBACK if choices.https and not choices.own_label_studio else choices.host


def outside(choices: Choices) -> str:
    """The address by which other machines reach this one; empty when the stack listens for this one alone."""
    if is_loopback(choices.host):
        return ""
    everywhere = choices.host == "0.0.0.0"
    return lan_address() or "" if everywhere else reachable(choices.host)


def https_url(choices: Choices) -> str:
    """The base URL at which phones and other machines reach the console by https; empty without it."""
    if not choices.https:
        return ""
    return f"https://{outside(choices) or reachable(choices.host)}:{Ports(choices.port).https}"


def label_studio_url(choices: Choices) -> str:
    """The base URL at which programs on this machine reach Label Studio; empty when there is none."""
    if choices.label_studio:
        return f"http://{reachable(choices.host)}:{Ports(choices.port).label_studio}"
    return choices.own_label_studio


def ml_backend_url(choices: Choices) -> str:
    """The base URL at which Label Studio reaches the ML backend."""
    # The user's own Label Studio may be on another machine; the stack's own speaks over loopback.
    host = LOOPBACK if choices.label_studio else reachable(choices.host)
    return f"http://{host}:{Ports(choices.port).ml_backend}"


def names(choices: Choices) -> tuple[str, ...]:
    """The programs of this stack."""
    there = {API_HTTPS: choices.https, ML_BACKEND: choices.labels, LABEL_STUDIO: choices.label_studio}
    return tuple(name for name in NAMES if there.get(name, True))


def redis_url(home: Home, ports: Ports) -> str:
    """The queue's URL, password included."""
    return f"redis://:{home.secret('valkey-password')}@{LOOPBACK}:{ports.valkey}/0"


def settings_environment(home: Home, choices: Choices, shell: Mapping[str, str]) -> dict[str, str]:
    """The SIGHTLOOP_* variables of the API and the workers."""
    ports = Ports(choices.port)
    kept = own_choices(shell)
    return (
        _labelers(choices)
        | kept
        | _phones(choices, kept)
        | _labeling(home, choices, kept)
        | {
            "SIGHTLOOP_DATA_DIR": str(home.path),
            "SIGHTLOOP_HOST": choices.host,
            "SIGHTLOOP_PORT": str(choices.port),
            "SIGHTLOOP_API_URL": api_url(choices),
            "SIGHTLOOP_ADMIN_TOKEN": home.secret("admin-token"),
            "SIGHTLOOP_HOST_TOKEN": home.secret("host-token"),
            "SIGHTLOOP_SECRET_KEY": home.secret("secret-key"),
            "SIGHTLOOP_REDIS_URL": redis_url(home, ports),
            "SIGHTLOOP_S3_ENDPOINT": f"http://{LOOPBACK}:{ports.s3}",
            "SIGHTLOOP_S3_ACCESS_KEY": home.secret("s3-access-key"),
            "SIGHTLOOP_S3_SECRET_KEY": home.secret("s3-secret-key"),
        }
    )


def worker_environment(home: Home, choices: Choices, shell: Mapping[str, str]) -> dict[str, str]:
    """The SIGHTLOOP_* variables of the workers, which write the links in Label Studio: those to pictures lead
    to this machine's address in its network, unless the user says otherwise. With https they stay with this
    machine: to a browser that does not trust the certificate yet they would be empty, on this machine, too.
    """
    host = "" if choices.https else outside(choices)
    pictures = {"SIGHTLOOP_PUBLIC_URL": f"http://{host}:{choices.port}"} if host else {}
    return pictures | settings_environment(home, choices, shell)


def own_choices(shell: Mapping[str, str]) -> dict[str, str]:
    """What of SIGHTLOOP_* the stack does not decide itself."""
    return {
        name: value
        for name, value in shell.items()
        if name.startswith("SIGHTLOOP_") and value and name not in _DECIDED
    }


def _labelers(choices: Choices) -> dict[str, str]:
    """Where people on other machines open Label Studio, unless the user says otherwise."""
    host = outside(choices)
    if not host or not choices.label_studio:
        return {}
    return {"SIGHTLOOP_LABEL_STUDIO_PUBLIC_URL": f"http://{host}:{Ports(choices.port).label_studio}"}


def _phones(choices: Choices, kept: Mapping[str, str]) -> dict[str, str]:
    """How phones reach the console, unless the user has said how they or all browsers do."""
    told = kept.keys() & {"SIGHTLOOP_PHONE_URL", "SIGHTLOOP_PUBLIC_URL"}
    if told or not choices.https or is_loopback(choices.host):
        return {}
    return {"SIGHTLOOP_PHONE_URL": https_url(choices)}


def _labeling(home: Home, choices: Choices, kept: Mapping[str, str]) -> dict[str, str]:
    """How the API and the workers reach Label Studio, and it the ML backend."""
    if not choices.labels:
        return {}
    url = ml_backend_url(choices)
    return {
        "SIGHTLOOP_LABEL_STUDIO_URL": label_studio_url(choices),
        "SIGHTLOOP_LABEL_STUDIO_TOKEN": label_studio_token(home, choices),
        # Through a proxy or a container's network the user's own Label Studio may need another name for it.
        "SIGHTLOOP_ML_BACKEND_URL": url
        if choices.label_studio
        else kept.get("SIGHTLOOP_ML_BACKEND_URL", url),
        "SIGHTLOOP_ML_BACKEND_TOKEN": home.secret("ml-backend-token"),
    }


def label_studio_token(home: Home, choices: Choices) -> str:
    """The access token with which the stack speaks to Label Studio."""
    return home.secret("label-studio-token") if choices.label_studio else home.own_token()


def programs(home: Home, choices: Choices, shell: Mapping[str, str]) -> list[Program]:
    """Every program, in the order of starting. Raises `ProgramMissing`."""
    settings = settings_environment(home, choices, shell)
    return [
        _valkey(home),
        _store(home, Ports(choices.port)),
        _api(home, choices, settings),
        *([_api_https(home, choices, settings)] if choices.https else []),
        *(_worker(home, name, worker_environment(home, choices, shell)) for name in WORKERS),
        _host(home, choices, shell),
        *([_ml_backend(home, choices, settings)] if choices.labels else []),
        *([_label_studio(home, choices, shell)] if choices.label_studio else []),
    ]


def write_configurations(home: Home, choices: Choices) -> None:
    """Write what valkey, the object store and https read."""
    ports = Ports(choices.port)
    if choices.https:
        hosts = [] if choices.host == "0.0.0.0" else [choices.host]
        certificates.ensure(home, [*certificates.own_hosts(), *hosts])
    write_private(home.path / "valkey" / "valkey.conf", _valkey_configuration(home, ports))
    access = {"accessKey": home.secret("s3-access-key"), "secretKey": home.secret("s3-secret-key")}
    identity = {
        "name": "sightloop",
        "credentials": [access],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    write_private(home.path / "store" / "s3.json", json.dumps({"identities": [identity]}, indent=2))
    write_private(home.path / "store" / "security.toml", _store_security(home.secret("store-signing-key")))


def _valkey_configuration(home: Home, ports: Ports) -> str:
    lines = (
        f"bind {LOOPBACK}",
        f"port {ports.valkey}",
        "protected-mode yes",
        f"requirepass {home.secret('valkey-password')}",
        f'dir "{home.path / "valkey"}"',
        "appendonly yes",
        "appendfsync everysec",
        'save ""',
        "maxmemory-policy noeviction",
        "enable-debug-command no",
        "daemonize no",
        "set-proc-title no",  # the title would overwrite the environment, by which `sweep` knows the process
    )
    return "\n".join(lines) + "\n"


def _store_security(key: str) -> str:
    # Without these the inner servers answer every user of this machine, past the S3 keys.
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "\n".join(f'[{section}]\nkey = "{key}{number}"\n' for number, section in enumerate(sections))


def _valkey(home: Home) -> Program:
    folder = home.path / "valkey"
    return Program(VALKEY, 10, (str(binaries.valkey_server()), str(folder / "valkey.conf")), folder)


def _store(home: Home, ports: Ports) -> Program:
    folder = home.path / "store"
    options = {
        "dir": str(folder / "data"),
        "ip": LOOPBACK,
        "ip.bind": LOOPBACK,
        **{name: str(port) for name, port in ports.store.items()},
        "volume.port.public": str(ports.store["volume.port"]),
        "volume.max": "10000",  # each bucket takes seven; the default counts them at full size
        "volume.preStopSeconds": "0",
        "master.volumeSizeLimitMB": "1024",
        "master.telemetry": "false",
        "master.peers": "none",  # nobody else votes: without it a restart waits up to 20 s for an election
        "filer": "true",
        "filer.localSocket": str(home.run / "filer.sock"),
        "s3": "true",
        "s3.port": str(ports.s3),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.localSocket": str(home.run / "s3.sock"),
        "s3.config": str(folder / "s3.json"),
        "s3.autoCreateBucket": "false",
    }
    command = (
        str(binaries.weed()),
        "-logtostderr=true",
        "server",
        *(f"-{k}={v}" for k, v in options.items()),
    )
    # It waits in vain for its own subscriptions before it ends. By then all clients have stopped, and what it
    # has acknowledged is on the disk.
    return Program(STORE, 20, command, folder, stop_seconds=2)


def _api(home: Home, choices: Choices, settings: Mapping[str, str]) -> Program:
    command = _gunicorn(f"{_plain_host(choices)}:{choices.port}", workers=2)
    return Program(API, 30, command, home.path, {**settings, "OMP_NUM_THREADS": "1"}, stop_seconds=15)


def _api_https(home: Home, choices: Choices, settings: Mapping[str, str]) -> Program:
    """The same app behind TLS. The other door stays as it is: the stack's own programs use it."""
    found = certificates.files(home)
    command = _gunicorn(
        f"{choices.host}:{Ports(choices.port).https}",
        *("--certfile", str(found.chain), "--keyfile", str(found.key)),
        workers=1,
    )
    # By this the app knows that its cookies are for https only.
    own = {"SIGHTLOOP_PUBLIC_URL": https_url(choices), **settings, "OMP_NUM_THREADS": "1"}
    return Program(API_HTTPS, 31, command, home.path, own, stop_seconds=15)


def _gunicorn(bind: str, *more: str, workers: int) -> tuple[str, ...]:
    options = ["--bind", bind, "--workers", str(workers), "--threads", "8"]
    options += ["--timeout", "60", "--graceful-timeout", "3", "--keep-alive", "5", "--no-control-socket"]
    if os.path.isdir("/dev/shm"):
        options += ["--worker-tmp-dir", "/dev/shm"]  # a busy disk must not look like a stuck worker
    options += ["--config", "python:backend.cli.embedded.apiserver", *more]
    return (sys.executable, "-m", "gunicorn", *options, "backend.app:create_app()")


def _worker(home: Home, name: str, settings: Mapping[str, str]) -> Program:
    chosen = settings.get("SIGHTLOOP_THREADS", "0")
    threads = {"OMP_NUM_THREADS": str(cores()) if chosen == "0" else chosen}
    command = (sys.executable, "-m", "workers", "--queues", name.removeprefix("worker-"))
    return Program(name, 40, command, home.path, {**settings, **threads}, stop_seconds=15)


def _host(home: Home, choices: Choices, shell: Mapping[str, str]) -> Program:
    # Under which name clients reach the services; without it, the host's address.
    told = shell.get("SIGHTLOOP_HOST_NAME") or outside(choices)
    name = {"SIGHTLOOP_HOST_NAME": told} if told else {}
    environment = {
        "SIGHTLOOP_API_URL": api_url(choices),
        "SIGHTLOOP_HOST_TOKEN": home.secret("host-token"),
        "SIGHTLOOP_HOST_DIR": str(home.host_dir),
        "SIGHTLOOP_HOST_BIND": choices.host,
        "SIGHTLOOP_HOST_PORTS": Ports(choices.port).services,
        "OMP_NUM_THREADS": "1",
        **name,
    }
    return Program(HOST, 50, (sys.executable, "-m", "model_server.host"), home.host_dir, environment)


def _ml_backend(home: Home, choices: Choices, settings: Mapping[str, str]) -> Program:
    root = Path(__file__).resolve().parents[3]
    host = LOOPBACK if choices.label_studio else choices.host
    bind = f"{host}:{Ports(choices.port).ml_backend}"
    command = (
        *(sys.executable, "-m", "gunicorn", "--config", str(root / "ml_backend" / "gunicorn.conf.py")),
        *("--bind", bind),
    )
    return Program(ML_BACKEND, 35, command, home.path, {**settings, "OMP_NUM_THREADS": "1"})


def _label_studio(home: Home, choices: Choices, shell: Mapping[str, str]) -> Program:
    folder = home.path / "label-studio"
    account = labelstudio.Account(
        home.secret("label-studio-password"),
        home.secret("label-studio-token"),
        home.secret("label-studio-secret-key"),
    )
    found = reachable(choices.host)
    own = found if found != LOOPBACK else ""
    python = labelstudio.python(shell.get("SIGHTLOOP_LABEL_STUDIO_BIN", ""))
    command = labelstudio.command(python, choices.host, Ports(choices.port).label_studio)
    environment = labelstudio.environment(folder, account, shell, own)
    return Program(LABEL_STUDIO, 36, command, folder, environment)
