"""How many connections each instance holds, so that a new one goes to the instance with the fewest.

All instances wait on one listening socket and any of them may take a connection. Clients keep their
connections, so without this one of two instances could have all four clients for as long as they stay.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

_COUNT = struct.Struct("I")
_PLACES = 512  # more than instances may be; instances started later take the places of earlier ones again
_CLOSED = 2**32 - 1  # takes no connections


class Connections:
    """Opened by each process on the same file; a count is written whole, so nothing is locked."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(descriptor).st_size == 0:
                os.write(descriptor, _COUNT.pack(_CLOSED) * _PLACES)
            self._shared = mmap.mmap(descriptor, _PLACES * _COUNT.size)
        finally:
            os.close(descriptor)

    def say(self, place: int, count: int | None) -> None:
        """An instance holds that many connections, or takes none any more."""
        _COUNT.pack_into(self._shared, place % _PLACES * _COUNT.size, _CLOSED if count is None else count)

    def fewest(self) -> int:
        """The smallest count of all instances."""
        return int(min(_COUNT.iter_unpack(self._shared[:]))[0])
