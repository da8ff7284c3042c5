"""The real program `sightloop` in processes of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from click.testing import CliRunner

from backend.cli import main
from backend.cli.embedded.ports import Ports

PROGRAM = str(Path(sys.executable).with_name("sightloop"))
T = TypeVar("T")


@dataclass(frozen=True)
class Stack:
    """A data directory and the base port of its stack."""

    data_dir: Path
    port: int

    @property
    def token(self) -> str:
        return (self.data_dir / "secrets" / "admin-token").read_text().strip()

    def run(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """A command that must exit with `code`: what it printed, or its errors when the code is not 0."""
        done = sightloop("--data-dir", str(self.data_dir), *arguments, **environ)
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if code == 0 else done.stderr

    def refusal(self, *arguments: str) -> tuple[str, str]:
        """A command that must fail, in this process: its sentence and, asked again with --json, its code."""
        full = ("--data-dir", str(self.data_dir), *arguments)
        said, coded = CliRunner().invoke(main, full), CliRunner().invoke(main, [*full, "--json"])
        assert (said.exit_code, coded.exit_code) == (1, 1), said.output
        return said.stderr, json.loads(coded.stderr)["error"]["code"]

    def json(self, *arguments: str) -> Any:
        """What a command answers with --json."""
        return json.loads(self.run(*arguments, "--json"))

    def programs(self) -> dict[str, dict[str, Any]]:
        """The programs of `status`, by name, whatever its exit code."""
        done = sightloop("--data-dir", str(self.data_dir), "status", "--json")
        return {program["name"]: program for program in json.loads(done.stdout)["programs"]}


def sightloop(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program; of SIGHTLOOP_* it sees only what is passed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLOOP_")}
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**kept, **environ},
        check=False,
    )


def free_base() -> int:
    """A base port all of whose fixed ports are free, below those that the system gives to clients."""
    for base in range(30100, 32600, 100):
        if all(is_free(port) for port in Ports(base).fixed()):
            return base
    raise AssertionError("no free ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def eventually(ask: Callable[[], T | None], seconds: float = 90) -> T:
    """Ask until there is an answer that is not None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.3)
    raise AssertionError("it did not happen")
