"""A server that answers whatever a test says, in the place of the REST API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Status, headers and body of one answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


NOT_FOUND = Answer(404, json.dumps({"detail": "there is none", "code": "not_found"}).encode())


def resource(value: Any) -> Answer:
    """A JSON body."""
    return Answer(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


@contextmanager
def answering(answers: Mapping[str, Answer], otherwise: Answer = NOT_FOUND) -> Iterator[str]:
    """The server's address, while it answers each `METHOD path` (below /api/v1) as told."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0].removeprefix("/api/v1")
            answer = answers.get(f"{self.command} {path}", otherwise)
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
