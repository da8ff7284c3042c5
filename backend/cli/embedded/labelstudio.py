"""Where Label Studio is installed, how it is started and what it is told: closed and narrowly connected."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from backend.cli.errors import ProgramMissing

USER = "admin@sightloop.local"
_SERVER = Path(__file__).with_name("labelserver.py")
_ENVIRONMENT = ".venv-label-studio"

# Label Studio's own list of networks that neither it nor an address a user enters may reach
# (core/utils/io.py of 1.23.2), without loopback, on which the stack's own programs are.
_BANNED = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
    *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::ffff:0:0/96", "::ffff:0:0:0/96"),
    *("64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:20::/28", "2001:db8::/32"),
    *("2002::/16", "fc00::/7", "fe80::/10", "ff00::/8"),
)


@dataclass(frozen=True)
class Account:
    """Label Studio's first user, and the key that signs its sessions."""

    password: str = field(repr=False)
    token: str = field(repr=False)
    secret_key: str = field(repr=False)
    user: str = USER


def python(chosen: str = "") -> Path:
    """The Python that Label Studio is installed for: of the program `chosen`, or beside our own environment.

    Raises `ProgramMissing` with the command that installs it.
    """
    environment = Path(chosen).parent.parent if chosen else Path(sys.prefix).parent / _ENVIRONMENT
    found = environment / "bin" / "python"
    lacking = [
        name for name in ("label-studio", "waitress-serve") if not (environment / "bin" / name).exists()
    ]
    if not lacking and os.access(found, os.X_OK):
        return found
    if chosen and "label-studio" in lacking:
        raise ProgramMissing(
            f"there is no Label Studio at {chosen}; correct SIGHTLOOP_LABEL_STUDIO_BIN, or unset it"
        )
    if chosen:
        raise ProgramMissing(
            f"the Label Studio of {environment} has no web server; "
            f"install it with `{found} -m pip install waitress`"
        )
    raise ProgramMissing(
        f"Label Studio is not installed; install it with `{installation(environment)}`, "
        "or leave it out with `sightloop up --no-label-studio`"
    )


def installation(environment: Path) -> str:
    """The command that installs Label Studio into an environment of its own: its versions clash with ours."""
    root = Path(__file__).resolve().parents[3]
    if (root / "Makefile").exists() and environment == root / _ENVIRONMENT:
        return f"make -C '{root}' label-studio"
    constraints = root / "constraints-label-studio.txt"
    pinned = f" -c '{constraints}'" if constraints.exists() else ""
    return (
        f"{sys.executable} -m venv '{environment}' && "
        f"'{environment}/bin/python' -m pip install label-studio==1.23.2 waitress{pinned}"
    )


def command(interpreter: Path, host: str, port: int) -> tuple[str, ...]:
    """How it is started: it listens there, or ends. Names beside the file are not importable (-P)."""
    return (str(interpreter), "-P", str(_SERVER), "serve", "--bind", f"{host}:{port}")


def environment(data: Path, account: Account, shell: Mapping[str, str], own: str = "") -> dict[str, str]:
    """What Label Studio is told. LABEL_STUDIO_* of the shell pass where the stack does not decide itself.

    `own` is the IPv4 address of this machine on which the stack listens besides loopback, if there is one.
    """
    kept = {name: value for name, value in shell.items() if name.startswith("LABEL_STUDIO_")}
    decided = {
        "BASE_DATA_DIR": str(data),
        "USERNAME": account.user,
        "PASSWORD": account.password,
        "USER_TOKEN": account.token,
        "SECRET_KEY": account.secret_key,
        "ENABLE_LEGACY_API_TOKEN": "true",
        "DISABLE_SIGNUP_WITHOUT_LINK": "true",
        # The protection stays on; only the stack's own programs are let through.
        "SSRF_PROTECTION_ENABLED": "true",
        "ML_BLOCK_LOCAL_IP": "true",
        "USE_DEFAULT_BANNED_SUBNETS": "false",
        "USER_ADDITIONAL_BANNED_SUBNETS": ",".join(banned(own)),
        "LOCAL_FILES_SERVING_ENABLED": "false",
        "CORS_ALLOW_ALL_ORIGINS": "false",
        "SVG_SECURITY_CLEANUP": "true",
    }
    return kept | {f"LABEL_STUDIO_{name}": value for name, value in decided.items()}


def banned(own: str = "") -> list[str]:
    """The networks that Label Studio must not reach: every reserved one but loopback and the IPv4 `own`."""
    return [str(part) for each in _BANNED for part in _without(ip_network(each), own)]


def _without(network: IPv4Network | IPv6Network, own: str) -> Iterator[IPv4Network | IPv6Network]:
    if own and isinstance(network, IPv4Network) and IPv4Network(own).subnet_of(network):
        yield from network.address_exclude(IPv4Network(own))
    else:
        yield network
