"""The real Label Studio for tests, as the stack starts it: make a session fixture of `label_studio`.

A test that needs it fails when it is not installed; `make label-studio` (or `make test`) installs it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from backend.cli.embedded import labelstudio
from backend.cli.embedded.labelstudio import Account
from backend.cli.errors import ProgramMissing
from tests.valkey import free_port

_READY_WITHIN = 120.0  # seconds; 9 on two free cores


@dataclass(frozen=True)
class RealLabelStudio:
    """A running Label Studio: its address, and its first user with password and (legacy) API token."""

    url: str
    token: str
    user: str
    password: str
    data: Path

    def client(self) -> httpx.Client:
        """Its REST API as the first user."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Token {self.token}"}, timeout=60)


@contextmanager
def running_label_studio(folder: Path, port: int | None = None) -> Iterator[RealLabelStudio]:
    """A Label Studio that keeps its data in `folder`; the same folder gives the same one back."""
    try:
        python = labelstudio.python(os.environ.get("SIGHTLOOP_LABEL_STUDIO_BIN", ""))
    except ProgramMissing as missing:
        raise AssertionError(f"this test needs the real Label Studio: {missing}") from None
    port = port or free_port()
    account = _account(folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLOOP_")}
    environment |= labelstudio.environment(folder, account, {})
    running = RealLabelStudio(
        f"http://127.0.0.1:{port}", account.token, account.user, account.password, folder
    )
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            labelstudio.command(python, "127.0.0.1", port),
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
        )
        try:
            _wait(process, running)
            yield running
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()


def _account(folder: Path) -> Account:
    kept = folder / "account"
    if not kept.exists():
        kept.write_text("\n".join((secrets.token_urlsafe(12), secrets.token_hex(20), secrets.token_hex(32))))
    password, token, key = kept.read_text().splitlines()
    return Account(password, token, key)


def _wait(process: subprocess.Popen[bytes], running: RealLabelStudio) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{running.url}/health/", timeout=10, trust_env=False).is_success:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            log = (running.data / "log.txt").read_text(errors="replace")
            raise AssertionError(f"Label Studio did not start:\n{log[-3000:]}")
        time.sleep(0.1)


class _Shared:
    stack: ExitStack | None = None
    running: RealLabelStudio | None = None
    users = 0


def label_studio() -> Iterator[RealLabelStudio]:
    """The one that all tests of a run share: make a session fixture of it, as often as you like.

    Tests make projects of their own and leave those of others alone. Under xdist each process has its own.
    """
    if _Shared.running is None:
        stack = ExitStack()
        folder = tempfile.mkdtemp(prefix="sightloop-test-label-studio-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _Shared.running = stack.enter_context(running_label_studio(Path(folder)))
        _Shared.stack = stack
    _Shared.users += 1
    try:
        yield _Shared.running
    finally:
        _Shared.users -= 1
        if _Shared.users == 0 and _Shared.stack is not None:
            _Shared.stack.close()
            _Shared.stack = _Shared.running = None
