"""gunicorn's threaded worker, which also ends its patience with clients that send too slowly, and leaves new
connections to the instance that has the fewest.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from model_server.balance import Connections

# The others are given this long to take a connection; then this instance does, though it has more of them.
_LEAVE_TIMES, _LEAVE_SECONDS = 20, 0.0005
_DISCARD_BYTES = 8 * 1024 * 1024
BODY_READ = "sightloop.body_read"
"""Key of a function in the WSGI environment: the application calls it when it has the whole body."""


class PatientWorker(ThreadWorker):  # type: ignore[misc]  # of a module without types
    """The threaded worker reads with no limit in time once a byte has come, so that a client that sends one
    byte a second would hold a thread for as long as it likes. Here its connection is cut.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.patience = 20.0  # seconds to send a whole request in
        # Where bodies may take longer: patience ends with the head (TLS handshake included), and from there
        # on this is how many seconds the connection may stand still.
        self.stall: float | None = None
        self.connections: Connections | None = None
        self._left = 0
        self._reading_since: dict[Any, float] = {}
        self._thread = threading.local()

    def load_wsgi(self) -> None:
        """Load the application and let it say when a body is read."""
        super().load_wsgi()
        application: Callable[..., Iterable[bytes]] = self.wsgi

        def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            conn = self._thread.conn
            if self.stall is not None:
                self._reading_since.pop(conn, None)
                conn.sock.settimeout(self.stall)  # the parent class takes it off before the next request
            environ[BODY_READ] = partial(self._reading_since.pop, conn, None)

            def start(*arguments: Any) -> Any:
                if conn in self._reading_since and not _discard(environ["wsgi.input"]):
                    start_response.__self__.force_close()  # type: ignore[attr-defined]
                return start_response(*arguments)

            return application(environ, start)

        self.wsgi: Callable[..., Iterable[bytes]] = wsgi

    def handle(self, conn: Any) -> Any:
        """Handle what a connection sends, as the parent class does."""
        self._thread.conn = conn
        self._reading_since[conn] = time.monotonic()
        try:
            return super().handle(conn)
        finally:
            self._reading_since.pop(conn, None)

    def accept(self, listener: Any) -> None:
        """Take a new connection, unless another instance has fewer."""
        if self.connections is not None:
            if self.connections.fewest() < self.nr_conns and self._left < _LEAVE_TIMES:
                self._left += 1
                time.sleep(_LEAVE_SECONDS)
                return
            self._left = 0
        super().accept(listener)
        self._say_connections()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """One turn of the main loop."""
        super().wait_for_and_dispatch_events(timeout)
        self._say_connections()

    def _say_connections(self) -> None:
        if self.connections is not None:
            self.connections.say(self.age, self.nr_conns if self.alive else None)

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


def _discard(body: Any) -> bool:
    """Read what an application that refused a request left unread; False if that is too much.

    A client that is still sending would otherwise find its connection reset and never see the answer, or use
    it for a next request while it is being closed.
    """
    left = _DISCARD_BYTES
    while left > 0:
        data = body.read(min(left, 65536))
        if not data:
            return True
        left -= len(data)
    return False
