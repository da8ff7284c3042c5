"""Every refusal over real HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from model_server.errors import ALL
from plugins.bundle import Bundle
from tests.model_server.bundles import body, item, labels, picture
from tests.model_server.servers import TOKEN, Server, running, until
from tests.model_server.tiny_plugin import HELD, NOT_A_NUMBER, REFUSED, UNFORESEEN


def check(answer: httpx.Response, status: int, code: int) -> str:
    """The common form; returns the detail."""
    values = answer.json()
    names = {kind.code: kind.name for kind in ALL}
    assert (answer.status_code, values["errorCode"]) == (status, code), answer.text
    assert values["success"] is False
    assert values["errorMsg"] == names[code]
    assert values["requestId"] == answer.headers["X-Request-Id"]
    assert "Traceback" not in answer.text and '.py"' not in answer.text
    return str(values["errorDetail"])


def entry(**changes: object) -> bytes:
    return json.dumps({"dataArray": [{**item(picture("red")), **changes}]}).encode()


GOOD = item(picture("red"))["body"]
WRONG_BODIES = {
    "empty": (b"", "empty"),
    "spaces": (b"  \n", "empty"),
    "not JSON": (b"hello", "not JSON"),
    "cut off": (body(picture("red"))[:-5], "not JSON"),
    "two values": (b"{} {}", "not JSON"),
    "not UTF-8": (b'{"dataArray": "\xff"}', "UTF-8"),
    "UTF-16": ('{"dataArray": []}'.encode("utf-16"), "UTF-8"),
    "a list": (b"[]", "object"),
    "null": (b"null", "object"),
    "no dataArray": (b"{}", "dataArray is missing"),
    "dataArray null": (b'{"dataArray": null}', "list"),
    "dataArray empty": (b'{"dataArray": []}', "at least one"),
    "dataArray an object": (b'{"dataArray": {}}', "list"),
    "too many images": (body(*[picture("red")] * 5), "at most 4"),
    "entry a text": (b'{"dataArray": ["x"]}', "each entry"),
    "entry null": (b'{"dataArray": [null]}', "each entry"),
    "no body": (b'{"dataArray": [{"name": "image", "type": "stream"}]}', "body is missing"),
    "another type": (entry(type="url"), "type must be stream"),
    "type null": (entry(type=None), "type must be stream"),
    "name a number": (entry(name=3), "name must be a text"),
    "body a number": (entry(body=3), "text"),
    "body empty": (entry(body=""), "empty"),
    "data URI": (entry(body=f"data:image/png;base64,{GOOD}"), "leave out the prefix"),
    "address": (entry(body="http://169.254.169.254/latest"), "not fetched"),
    "line breaks": (entry(body=GOOD[:8] + "\n" + GOOD[8:]), "line breaks"),
    "wrong padding": (entry(body="QUJD="), "base64"),
    "one character": (entry(body="A"), "base64"),
    "garbage": (entry(body="!!!!"), "base64"),
    "padding inside": (entry(body="QQ==QUJD"), "base64"),
    "URL-safe": (entry(body="-_-_"), "URL-safe"),
    "not ASCII": (entry(body="äöüß"), "base64"),
    "lone surrogate": (b'{"dataArray": [{"body": "\\ud800"}]}', "base64"),
    "NaN": (b'{"dataArray": [NaN]}', "NaN is not JSON"),
    "Infinity": (b'{"a": -Infinity, "dataArray": []}', "not JSON"),
    "key twice": (b'{"dataArray": [], "dataArray": [{}]}', "twice"),
    "deep lists": (b'{"dataArray": ' + b"[" * 100_000, "nested"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
    "long number": (b'{"dataArray": ' + b"9" * 100_000 + b"}", "number"),
}


@pytest.mark.parametrize("name", WRONG_BODIES)
def test_1001_a_body_that_is_not_a_request(server: Server, name: str) -> None:
    content, words = WRONG_BODIES[name]
    assert words in check(server.predict(content), 400, 1001)


def test_1001_a_compressed_body_is_refused(server: Server) -> None:
    answer = server.predict(zlib.compress(body(picture("red"))), **{"Content-Encoding": "gzip"})
    check(answer, 400, 1001)


def test_1001_a_body_that_is_too_large_is_refused_before_it_is_read(server: Server) -> None:
    assert "2,000,000" in check(server.predict(b"x" * 2_000_001), 413, 1001)


def test_1001_an_endless_chunked_body_is_cut(server: Server) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 100_000
            yield b"x" * 100_000

    # The connection may be closed while we still send.
    with server.client() as client, contextlib.suppress(httpx.WriteError, httpx.ReadError):
        check(client.post("/api/predict/colours", content=endless()), 413, 1001)
    assert sent < 50_000_000


def png(width: int, height: int) -> bytes:
    """A PNG of that size that is not there."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def noise() -> bytes:
    buffer = BytesIO()
    Image.effect_noise((100, 100), 80).save(buffer, "JPEG")
    return buffer.getvalue()


NOISE = noise()
WRONG_IMAGES = {
    "text": b"this is no image",
    "cut off": picture("red", (400, 300), "JPEG")[:400],
    "damaged": NOISE[:2] + b"\xff\xdb\0\1" + NOISE[6:],
    "GIF": picture("red", form="GIF"),
    "TIFF": picture("red", form="TIFF"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": b"%PDF-1.7",
    "bomb": png(50_000, 50_000),
    "wide bomb": png(2_000_000_000, 1),
}


@pytest.mark.parametrize("name", WRONG_IMAGES)
def test_1002_what_is_no_image_of_ours(server: Server, name: str) -> None:
    check(server.predict(body(WRONG_IMAGES[name])), 400, 1002)


def test_2001_says_nothing_and_the_log_has_the_request_id(server: Server) -> None:
    answer = server.predict(body(picture("red", (UNFORESEEN, 9))))
    detail = check(answer, 500, 2001)
    assert "secret" not in detail
    identifier = answer.json()["requestId"]
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if identifier in line]
    assert any("/secret/path of the server" in line.get("exception", "") for line in lines)


def test_2003_the_model_refuses_an_image(server: Server) -> None:
    assert "does not like" in check(server.predict(body(picture("red", (REFUSED, 9)))), 500, 2003)


def test_2003_the_model_gives_no_number(server: Server) -> None:
    check(server.predict(body(picture("red", (NOT_A_NUMBER, 9)))), 500, 2003)


def test_2002_when_the_queue_is_full(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle, hold: Path
) -> None:
    settings = {"queue_size": 1, "deadline_seconds": 60.0}
    with running(tmp_path, plugins_folder, bundle, **settings) as server, ThreadPoolExecutor(2) as pool:
        hold.touch()
        try:
            working = pool.submit(server.predict, body(picture("red", (HELD, 9))))
            until(lambda: inside(server) == 1, "one works")
            waiting = pool.submit(server.predict, body(picture("green")))
            until(lambda: inside(server) == 2, "one waits")
            refused = server.predict(body(picture("blue")))
            assert "queue is full" in check(refused, 503, 2002)
            assert int(refused.headers["Retry-After"]) >= 1
        finally:
            hold.unlink()
        assert labels(working.result().json())[0] == "red@1"
        assert labels(waiting.result().json())[0] == "green@1"


def test_2002_when_the_deadline_passes(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle, hold: Path
) -> None:
    settings = {"deadline_seconds": 1.0}
    with running(tmp_path, plugins_folder, bundle, **settings) as server, ThreadPoolExecutor(1) as pool:
        hold.touch()
        try:
            working = pool.submit(server.predict, body(picture("red", (HELD, 9))))
            until(lambda: inside(server) == 1, "one works")
            late = server.predict(body(picture("green")))
            assert "in time" in check(late, 503, 2002)
            assert "Retry-After" in late.headers
            with server.client() as client:
                assert client.get("/health/live").status_code == 200
        finally:
            hold.unlink()
        assert labels(working.result().json())[0] == "red@1"
        assert labels(server.predict(body(picture("green"))).json())[0] == "green@1"


def inside(server: Server) -> float:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("sightloop_requests_inside"))


def test_under_overload_every_request_is_answered_or_told_to_come_back(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle
) -> None:
    with running(tmp_path, plugins_folder, bundle, queue_size=2) as server:
        content = body(picture("red", (1500, 1500)))
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(lambda _: server.predict(content), range(60)))
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert any(answer.status_code == 200 for answer in answers)
        for answer in answers:
            if answer.status_code == 503:
                check(answer, 503, 2002)


def test_401_404_405_have_the_same_form(server: Server) -> None:
    content = body(picture("red"))
    with server.client(headers={}) as client:
        missing = client.post("/api/predict/colours", content=content)
        wrong = client.post("/api/predict/colours", content=content, headers={"Authorization": "x" * 72})
        assert check(missing, 401, 401) == check(wrong, 401, 401)
    with server.client() as client:
        check(client.post("/api/predict/other", content=content), 404, 404)
        check(client.post("/nothing", content=content), 404, 404)
        check(client.get("/api/predict/colours"), 405, 405)
        check(client.post("/health/live"), 405, 405)


@pytest.mark.parametrize("size", [10, 200_000, 1_900_000, 2_100_000])
def test_a_refused_client_can_use_its_connection_again(server: Server, size: int) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=30)
    for _ in range(3):
        connection.request("POST", "/api/predict/colours", b"x" * size, {"Authorization": "wrong"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["errorCode"]) == (401, 401)
        connection.request("POST", "/api/predict/colours", b"x" * size, {"Authorization": TOKEN})
        answer = connection.getresponse()
        assert answer.status == (400 if size < 2_000_000 else 413)
        answer.read()
    connection.close()


def test_429_one_limit_for_all_instances(tmp_path: Path, plugins_folder: Path, bundle: Bundle) -> None:
    with running(tmp_path, plugins_folder, bundle, instances=2, rate_limit=0.02) as server:
        first, second, third = (server.predict(body(picture("red"))) for _ in range(3))
        assert first.status_code == 200
        for refused in (second, third):
            check(refused, 429, 429)
            assert 1 <= int(refused.headers["Retry-After"]) <= 50


def test_a_client_that_goes_away_leaves_no_place_taken(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle, hold: Path
) -> None:
    with running(tmp_path, plugins_folder, bundle, queue_size=3) as server:
        hold.touch()
        threads = [threading.Thread(target=impatient, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        hold.unlink()
        until(lambda: inside(server) == 0, "every place is free again")
        assert server.predict(body(picture("red"))).status_code == 200


def impatient(server: Server) -> None:
    try:
        httpx.post(
            f"{server.url}/api/predict/colours",
            content=body(picture("red", (HELD, 9))),
            headers={"Authorization": TOKEN},
            timeout=0.3,
            trust_env=False,
        )
    except httpx.TimeoutException:
        return
    raise AssertionError("the model should have been held")
