"""Waiting for an object store that does not answer: hours of training must not be lost to a restart of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from backend.errors import StorageFull, StorageUnreachable
from plugins.contract import TrainingStopped
from workers.context import Record

LONGEST = 1800.0  # seconds that a store is waited for
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0  # seconds

Answer = TypeVar("Answer")


def patiently(record: Record, call: Callable[[], Answer], *, longest: float = LONGEST) -> Answer:
    """What the call answers, tried again while the store is unreachable or full, for `longest` seconds.

    Raises what the call raises then, `TrainingStopped` when somebody asks meanwhile to keep nothing, and
    `AttemptLost`.
    """
    started, pause = time.monotonic(), _FIRST_PAUSE
    while True:
        try:
            return call()
        except (StorageUnreachable, StorageFull) as error:
            if time.monotonic() - started >= longest:
                raise
            if pause == _FIRST_PAUSE:
                record.log(f"{error}; it is tried again for {longest / 60:.0f} minutes")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        record.flush()
        if record.stop == "discard":
            raise TrainingStopped("stopped, and nothing is kept")
