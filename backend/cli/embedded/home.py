"""The data directory of one stack: private, with its ports chosen once and its secrets made once."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from backend.cli.errors import DataDirUnusable
from backend.sealing import new_key

# A unix socket's path is at most 107 bytes, and supervisord binds `<path>.<pid>` before it renames.
_LONGEST_SOCKET = 90
_LONGEST_SCRATCH = 64
_SHORT_ROOT = "/tmp"
_WORKER = "worker-environment.json"
# These mean something in the configuration files of supervisord and valkey, or in the store's options.
_UNUSABLE = frozenset("\"'\\%#;[]*?,\n\r\t")

_SECRETS: dict[str, Callable[[], str]] = {
    "admin-token": lambda: f"slp_{secrets.token_urlsafe(32)}",
    "host-token": lambda: f"slh_{secrets.token_urlsafe(32)}",
    "secret-key": new_key,
    "valkey-password": lambda: secrets.token_urlsafe(32),
    "s3-access-key": lambda: secrets.token_hex(10).upper(),
    "s3-secret-key": lambda: secrets.token_urlsafe(30),
    "store-signing-key": lambda: secrets.token_urlsafe(32),
    "label-studio-password": lambda: secrets.token_urlsafe(12),
    "label-studio-token": lambda: secrets.token_hex(20),  # the length that Label Studio's database takes
    "label-studio-secret-key": lambda: secrets.token_urlsafe(48),
    "ml-backend-token": lambda: secrets.token_urlsafe(32),
}


@dataclass(frozen=True)
class Choices:
    """What `sightloop up` was told and keeps: the base port, the address that the API listens on, whether
    Label Studio is part of the stack and, if it is not, the URL of the user's own (or nothing), and whether
    the console is also served by https.
    """

    port: int
    host: str
    label_studio: bool = True
    own_label_studio: str = ""
    https: bool = False

    @property
    def labels(self) -> bool:
        """Whether there is any Label Studio."""
        return self.label_studio or bool(self.own_label_studio)


@dataclass(frozen=True)
class Home:
    """The data directory. Nothing is made before `prepare`."""

    path: Path

    @property
    def logs(self) -> Path:
        """One log file a program."""
        return self.path / "logs"

    @property
    def host_dir(self) -> Path:
        """The model host's folder; the programs of its services are in `services.d`."""
        return self.path / "host"

    @property
    def config(self) -> Path:
        """supervisord's configuration."""
        return self.path / "supervisord.conf"

    @property
    def token_file(self) -> Path:
        """The administrator's API token."""
        return self.path / "secrets" / "admin-token"

    @property
    def first_start(self) -> Path:
        """When the stack's first start had ended, with the administrator made."""
        return self.path / "first-start"

    @cached_property
    def run(self) -> Path:
        """Sockets and pid files: inside, or in a short folder when the path is too long for a socket."""
        inside = self.path / "run"
        if len(os.fsencode(inside / "supervisor.sock")) <= _LONGEST_SOCKET:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(_SHORT_ROOT, f"sightloop-{os.geteuid()}", name)

    @property
    def scratch(self) -> Path:
        """What programs make for a moment. Some make sockets there, in folders with long names."""
        inside = self.path / "tmp"
        return inside if len(os.fsencode(inside)) <= _LONGEST_SCRATCH else self.run / "tmp"

    def empty_scratch(self) -> None:
        """Forget what killed programs have left there. Raises `DataDirUnusable`."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        private_folder(self.scratch)

    @property
    def socket(self) -> Path:
        """Where supervisord listens."""
        return self.run / "supervisor.sock"

    @property
    def pid_file(self) -> Path:
        """supervisord's pid."""
        return self.run / "supervisord.pid"

    def choices(self) -> Choices | None:
        """What was chosen at the first `up`, or None before it."""
        try:
            found = json.loads((self.path / "stack.json").read_text())
            return Choices(
                port=int(found["port"]),
                host=str(found["host"]),
                label_studio=bool(found.get("label_studio", True)),  # absent before there was one
                own_label_studio=str(found.get("own_label_studio", "")),
                https=bool(found.get("https", False)),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataDirUnusable(
                f"{self.path / 'stack.json'} cannot be read ({type(error).__name__}); "
                "restore it, or delete it and name the port again with `sightloop up --port`"
            ) from None

    def choose(self, choices: Choices) -> None:
        """Keep the choices."""
        write_private(self.path / "stack.json", json.dumps(asdict(choices), indent=2) + "\n")

    def keep_worker_environment(self, environment: Mapping[str, str]) -> None:
        """What the workers of the running stack are told, for one more of them."""
        write_private(self.path / "secrets" / _WORKER, json.dumps(environment, indent=2) + "\n")

    def worker_environment(self) -> dict[str, str]:
        """What was kept; empty for a stack that an older release started."""
        try:
            found: dict[str, str] = json.loads((self.path / "secrets" / _WORKER).read_text())
        except FileNotFoundError:
            return {}
        return found

    def secret(self, name: str) -> str:
        """A secret of this stack, made when it does not exist yet."""
        path = self.path / "secrets" / name
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            _write_once(path, _SECRETS[name]())
            return path.read_text().strip()

    def own_token(self) -> str:
        """The access token of the user's own Label Studio; empty when none was given."""
        try:
            return self.own_token_file.read_text().strip()
        except FileNotFoundError:
            return ""

    @property
    def own_token_file(self) -> Path:
        """The access token of the user's own Label Studio."""
        return self.path / "secrets" / "own-label-studio-token"

    def prepare(self) -> None:
        """Make the folders, all 0700, and the secrets. Raises `DataDirUnusable`."""
        self._check_name()
        self._check_content()
        try:
            self._make_folders()
        except OSError as error:
            raise DataDirUnusable(
                f"the data directory {self.path} cannot be made or written ({error.strerror}); "
                "choose another with --data-dir"
            ) from None
        for name in _SECRETS:
            self.secret(name)

    def _make_folders(self) -> None:
        if self.run.parent.parent == Path(_SHORT_ROOT):
            private_folder(self.run.parent)
        # First what tells `_check_content` that the folder is ours: another `up` may look at this moment.
        inside = (
            "secrets",
            "logs",
            "valkey",
            "store",
            "store/data",
            "host",
            "host/services.d",
            "label-studio",
        )
        for folder in (self.path, *(self.path / name for name in inside), self.run):
            private_folder(folder)

    def _check_name(self) -> None:
        bad = sorted(_UNUSABLE & set(str(self.path)))
        if bad:
            raise DataDirUnusable(
                f"the data directory {str(self.path)!r} has {bad[0]!r} in its path, "
                "which the stack's programs cannot take; choose another with --data-dir"
            )

    def _check_content(self) -> None:
        known = {"stack.json", "secrets", "tokens.json", "lock"}
        try:
            names = set(os.listdir(self.path))
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataDirUnusable(
                f"{self.path} cannot be used as the data directory ({error.strerror}); "
                "choose another with --data-dir"
            ) from None
        # Weights may lie there before the first start: the doctor says so.
        if names - {"weights"} and not names & known:
            raise DataDirUnusable(
                f"{self.path} holds other files and is no data directory of Sightloop; "
                "name a new or empty folder with --data-dir"
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Wait for any other `up` or `down` of this directory, and keep others waiting."""
        with os.fdopen(os.open(self.path / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def private_folder(path: Path) -> None:
    """Make a folder that only this user can read. Raises `DataDirUnusable` when it is somebody else's."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise DataDirUnusable(
            f"{path} belongs to another user or is a link; choose another folder with --data-dir"
        )
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read; it is there whole or not at all."""
    part = _private_part(path, text)
    part.replace(path)


def _write_once(path: Path, text: str) -> None:
    part = _private_part(path, text + "\n")
    try:
        os.link(part, path)  # two first starts at once: one of them wins, and both read the winner's
    except FileExistsError:
        pass
    finally:
        part.unlink()


def _private_part(path: Path, text: str) -> Path:
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return part
