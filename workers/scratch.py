"""Where the attempts of a training task keep their images, caches and checkpoints on this machine."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path

from backend.settings import Settings

_OWNER = "database"


def task_folder(settings: Settings, task_id: int) -> Path:
    """The folder of a task; it outlives a lost worker and is removed when the task has ended."""
    return _work(settings) / f"task-{task_id}"


def claim(settings: Settings, task_id: int, *, first: bool) -> None:
    """Make the folder for an attempt that begins. What the `first` one finds there is of a task that was
    deleted, whose number has been given again.
    """
    if first:
        forget(settings, task_id)
    folder = task_folder(settings, task_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _OWNER).write_text(_owner(settings))


def claimed(settings: Settings) -> list[int]:
    """The tasks of this database that have a folder here. Workers of another stack may use the same data
    directory, with numbers of their own.
    """
    found = []
    for mark in _work(settings).glob(f"task-*/{_OWNER}"):
        number = mark.parent.name.removeprefix("task-")
        with suppress(OSError):  # its attempt has just ended and removes it
            if number.isdigit() and mark.read_text() == _owner(settings):
                found.append(int(number))
    return found


def forget(settings: Settings, task_id: int) -> None:
    """Remove the folder of a task that has ended."""
    shutil.rmtree(task_folder(settings, task_id), ignore_errors=True)


def _work(settings: Settings) -> Path:
    return settings.data_dir / "work"


def _owner(settings: Settings) -> str:
    return hashlib.sha256(settings.database.encode()).hexdigest()
