"""gunicorn's threaded worker, with an end to the patience for clients that send or read too slowly."""

from __future__ import annotations

import socket
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

PATIENCE_SECONDS = 20.0  # to read a request, answer it (5 s at most in the queue) and send the answer


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # of a module without types
    """The threaded worker reads with no limit in time once a byte has come, so that a client that sends one
    byte a second would hold a thread for as long as it likes. Here its connection is cut.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since: dict[Any, float] = {}

    def handle(self, conn: Any) -> Any:
        """Handle what a connection sends, as the parent class does, with a note since when."""
        self._since[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._since.pop(conn, None)

    def notify(self) -> None:
        """Called by the main loop at least once a second."""
        super().notify()
        now = time.monotonic()
        for conn, since in list(self._since.items()):
            if now - since > PATIENCE_SECONDS:
                self._cut(conn)

    def _cut(self, conn: Any) -> None:
        try:
            # Wakes the thread that reads or writes; closing the descriptor here would not.
            conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # already gone
            self._since.pop(conn, None)
