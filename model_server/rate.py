"""The rate limit of a service, one for all its processes.

The generic cell rate algorithm in eight shared bytes: the moment at which the service would be even with its
rate. A request is admitted when that moment lies at most one second ahead, and moves it by 1 / rate.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import struct
import threading
import time
from pathlib import Path

from model_server.errors import TooManyRequests

_MOMENT = struct.Struct("d")
_BURST_SECONDS = 1.0


class RateLimit:
    """Opened after the fork by each process on the same file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self._descriptor, _MOMENT.size)
        self._shared = mmap.mmap(self._descriptor, _MOMENT.size)
        self._lock = threading.Lock()  # file locks are of the process, not of the thread

    def admit(self, per_second: float) -> None:
        """Count one request. Raises `TooManyRequests`; a limit of 0 admits all."""
        if per_second <= 0:
            return
        with self._lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                ahead = self._advance(per_second)
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        if ahead > 0:
            raise TooManyRequests(
                f"this service answers {per_second:g} requests a second", retry_after=max(1, math.ceil(ahead))
            )

    def _advance(self, per_second: float) -> float:
        """0 when admitted, else the seconds until the next can be."""
        now = time.monotonic()  # one clock for all processes of a machine
        moment = max(now, float(_MOMENT.unpack(self._shared[: _MOMENT.size])[0]))
        step = 1.0 / per_second
        # A rate below one a second still admits one at a time.
        ahead = moment + step - now - max(_BURST_SECONDS, step)
        if ahead > 1e-9:
            return ahead
        self._shared[: _MOMENT.size] = _MOMENT.pack(moment + step)
        return 0.0
