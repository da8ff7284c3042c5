"""How an operation that runs tells how far it is, and learns that it should end."""

from __future__ import annotations

import time

from sqlalchemy import select

from backend.datasets import operations
from backend.datasets.tables import Operation
from backend.db import SessionFactory, transaction

_BEAT = 1.0  # seconds between two notes of progress


class Progress:
    """Call it often, from one thread; it writes once a second, and at the end."""

    def __init__(self, sessions: SessionFactory, operation: Operation) -> None:
        self._sessions = sessions
        self._id, self._attempt = operation.id, operation.attempt
        self._last = time.monotonic()
        self._stop = False

    def __call__(self, done: int, total: int) -> None:
        """So much is done of so much. Raises `AttemptRefused` when another attempt owns the operation."""
        if done < total and time.monotonic() - self._last < _BEAT:
            return
        self._last = time.monotonic()
        with transaction(self._sessions) as session:
            operations.progress(session, self._id, self._attempt, done=done, total=total)
            asked = select(Operation.stop_requested).where(Operation.id == self._id)
            self._stop = bool(session.scalar(asked))

    def should_stop(self) -> bool:
        """Whether the user has asked to end with what is done; as fresh as the last note."""
        return self._stop
