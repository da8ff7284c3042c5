"""Signs of life of work that is inside a long call which notes nothing: a step of training, a listing."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy.exc import OperationalError


class Heart(threading.Thread):
    """Calls `beat` every few seconds until `end`, or until that raises `lost`: somebody else has the work,
    which the main thread sees at its next note.
    """

    def __init__(self, beat: Callable[[], object], *, lost: type[Exception], seconds: float) -> None:
        super().__init__(name="heart", daemon=True)
        self._beat, self._lost, self._seconds = beat, lost, seconds
        self._over = threading.Event()

    def run(self) -> None:
        """What the thread does."""
        while not self._over.wait(self._seconds):
            try:
                self._beat()
            except self._lost:
                return
            except OperationalError:  # the database is busy; the next beat comes
                continue

    def end(self) -> None:
        """Stop beating."""
        self._over.set()
        self.join()
