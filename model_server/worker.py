"""gunicorn's threaded worker, with an end to the patience for clients that send too slowly."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

BODY_READ = "sightloop.body_read"
"""Key of a function in the WSGI environment: the application calls it when it has the whole body."""


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # of a module without types
    """The threaded worker reads with no limit in time once a byte has come, so that a client that sends one
    byte a second would hold a thread for as long as it likes. Here its connection is cut.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = 20.0  # seconds to send a whole request in
        self._reading_since: dict[Any, float] = {}
        self._thread = threading.local()

    def load_wsgi(self) -> None:
        """Load the application and let it say when a body is read."""
        super().load_wsgi()
        application: Callable[..., Iterable[bytes]] = self.wsgi

        def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            environ[BODY_READ] = partial(self._reading_since.pop, self._thread.conn, None)
            return application(environ, start_response)

        self.wsgi: Callable[..., Iterable[bytes]] = wsgi

    def handle(self, conn: Any) -> Any:
        """Handle what a connection sends, as the parent class does."""
        self._thread.conn = conn
        self._reading_since[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._reading_since.pop(conn, None)

    def notify(self) -> None:
        """Called by the main loop at least once a second."""
        super().notify()
        now = time.monotonic()
        for conn, since in list(self._reading_since.items()):
            if now - since > self.patience:
                self._cut(conn)

    def _cut(self, conn: Any) -> None:
        try:
            # Wakes the thread that reads; closing the descriptor here would not.
            conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # already gone
            self._reading_since.pop(conn, None)
