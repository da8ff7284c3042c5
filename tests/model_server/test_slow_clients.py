from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.bundle import Bundle
from tests.model_server.bundles import body, picture
from tests.model_server.servers import TOKEN, Server, running, until

CONTENT = body(picture("red"))
HEAD = (
    "POST /api/predict/colours HTTP/1.1\r\nHost: x\r\n"
    f"Authorization: {TOKEN}\r\nContent-Length: {len(CONTENT)}\r\n"
).encode()


@contextlib.contextmanager
def sockets(server: Server, count: int, start: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(stack.enter_context(socket.create_connection(server.address, timeout=30)))
            opened[-1].sendall(start)
        yield opened


@pytest.mark.parametrize(
    "start", [b"", b"POST /api", HEAD, HEAD + b"\r\n", HEAD + b"\r\n" + CONTENT[:9]], ids=range(5)
)
def test_clients_that_send_nothing_more_do_not_hold_up_others(server: Server, start: bytes) -> None:
    with sockets(server, 40, start):
        assert [server.predict(CONTENT).status_code for _ in range(5)] == [200] * 5


def test_a_client_that_never_finishes_is_cut_off(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle
) -> None:
    with (
        running(tmp_path, plugins_folder, bundle, read_seconds=1.0) as server,
        sockets(server, 1, HEAD) as (slow,),
    ):
        trickle = iter(b"X-More: " + b"y" * 1000)

        def cut() -> bool:
            slow.settimeout(0.2)
            try:
                slow.sendall(bytes([next(trickle)]))
                return not slow.recv(100)
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        until(cut, "the connection is cut")
        assert server.predict(CONTENT).status_code == 200


def test_a_length_that_is_a_lie_ends_in_a_refusal_or_a_cut(server: Server) -> None:
    with sockets(server, 1, HEAD + b"\r\n" + CONTENT[:20]) as (liar,):
        liar.shutdown(socket.SHUT_WR)
        answer = liar.recv(100_000)
        assert b"400" in answer.split(b"\r\n")[0] or not answer
    with sockets(server, 1, HEAD + b"\r\n" + CONTENT + b"GET /x HTTP/1.1\r\n\r\n") as (more,):
        assert b"200" in more.recv(100_000).split(b"\r\n")[0]
    assert server.predict(CONTENT).status_code == 200
