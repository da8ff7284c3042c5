"""Where the attempts of a training task keep their images, caches and checkpoints on this machine."""

from __future__ import annotations

import shutil
from pathlib import Path

from backend.settings import Settings


def task_folder(settings: Settings, task_id: int) -> Path:
    """The folder of a task; it outlives a lost worker and is removed when the task has ended."""
    return settings.data_dir / "work" / f"task-{task_id}"


def forget(settings: Settings, task_id: int) -> None:
    """Remove the folder of a task that has ended."""
    shutil.rmtree(task_folder(settings, task_id), ignore_errors=True)
