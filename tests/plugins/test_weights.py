"""Where pretrained weights come from: folders, downloads from a real server, and every way to fail."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from pathlib import Path

import pytest
import torch

from plugins.classification import catalogue
from plugins.classification.catalogue import Base
from plugins.contract import PluginError, TrainingStopped
from plugins.weights import Places, find, obtain, read
from tests.plugins.https_server import Server, redirect, send, serving


def weights() -> bytes:
    """A state dict as torchvision publishes them, but small."""
    stream = BytesIO()
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(40, 300).state_dict(), stream)
    return stream.getvalue()


DATA = weights()
FILE = "small-12345678.pth"


def base(url: str, data: bytes = DATA) -> Base:
    return Base(
        name="small",
        architecture="resnet50",
        file=FILE,
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
        image_size=64,
        accuracy=0.8,
        speed=100.0,
        licence="none",
        url=url,
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def places(tmp_path: Path, server: Server) -> Places:
    return Places(tmp_path / "weights", tmp_path / "cache", offline=False, trust=server.trust)


def refused(code: str, one: Base, places: Places, seconds: float = 60.0) -> str:
    """Obtaining it fails with this code; the sentence. Nothing is left in the folder."""
    with pytest.raises(PluginError) as refusal:
        obtain(one, places, seconds=seconds)
    assert refusal.value.code == code
    assert not places.folder or not places.folder.exists() or not list(places.folder.iterdir())
    return str(refusal.value)


def test_a_file_is_downloaded_once(places: Places, server: Server) -> None:
    one = base(server.url("/w.pth", DATA))
    assert obtain(one, places) == DATA
    assert obtain(one, places) == DATA
    assert server.asked == ["/w.pth"]
    assert places.folder is not None
    assert [path.name for path in places.folder.iterdir()] == [FILE]
    assert find(one, places) == places.folder / FILE


def test_other_bytes_are_refused_and_not_kept(places: Places, server: Server) -> None:
    message = refused("weights_changed", base(server.url("/w.pth", b"x" + DATA[1:])), places)
    assert base("").sha256 in message


def test_a_download_that_breaks_off_is_refused(places: Places, server: Server) -> None:
    server.answers["/w.pth"] = lambda request: send(request, DATA[:-100], length=len(DATA))
    assert "could not be read" in refused("weights_missing", base(f"{server.address}/w.pth"), places)


def test_a_short_file_is_refused(places: Places, server: Server) -> None:
    refused("weights_changed", base(server.url("/w.pth", DATA[:-100])), places)


def test_an_address_without_the_file_is_named(places: Places, server: Server) -> None:
    message = refused("weights_missing", base(f"{server.address}/gone.pth"), places)
    assert f"{server.address}/gone.pth answered with status 404" in message
    assert FILE in message and base("").sha256 in message and str(places.folder) in message


def test_a_redirect_is_followed_to_https_only(places: Places, server: Server) -> None:
    server.url("/there.pth", DATA)
    server.answers["/here.pth"] = lambda request: redirect(request, "/there.pth")
    assert obtain(base(f"{server.address}/here.pth"), places) == DATA


def test_a_redirect_to_http_is_refused(places: Places, server: Server) -> None:
    plain = server.url("/there.pth", DATA).replace("https", "http")
    server.answers["/here.pth"] = lambda request: redirect(request, plain)
    assert "not https" in refused("weights_missing", base(f"{server.address}/here.pth"), places)
    assert server.asked == ["/here.pth"]


def test_redirects_in_a_circle_end(places: Places, server: Server) -> None:
    server.answers["/w.pth"] = lambda request: redirect(request, "/w.pth")
    assert "too often" in refused("weights_missing", base(f"{server.address}/w.pth"), places)


def test_http_is_not_spoken(places: Places) -> None:
    assert "not https" in refused("weights_missing", base("http://127.0.0.1:9/w.pth"), places)


def test_more_than_the_file_is_not_read(places: Places, server: Server) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not server.ended.is_set():
            request.wfile.write(b"\0" * 65536)

    server.answers["/w.pth"] = answer
    assert "more than" in refused("weights_missing", base(f"{server.address}/w.pth"), places)


def test_a_server_that_trickles_is_left(places: Places, server: Server) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(DATA)))
        request.end_headers()
        for byte in DATA:
            request.wfile.write(bytes([byte]))
            if server.ended.wait(0.05):
                return

    server.answers["/w.pth"] = answer
    assert "took too long" in refused("weights_missing", base(f"{server.address}/w.pth"), places, 3)


def test_a_server_that_says_nothing_is_left(places: Places, server: Server) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        server.ended.wait()

    server.answers["/w.pth"] = answer
    assert "could not be read" in refused("weights_missing", base(f"{server.address}/w.pth"), places, 1)


def test_a_server_that_nobody_vouches_for_is_refused(places: Places, server: Server) -> None:
    strict = Places(places.folder, offline=False, trust=ssl.create_default_context())
    assert "certificate" in refused("weights_missing", base(server.url("/w.pth", DATA)), strict).lower()
    assert server.asked == []


def test_nobody_there(places: Places, server: Server) -> None:
    message = refused("weights_missing", base("https://127.0.0.1:9/w.pth"), places)
    assert "https://127.0.0.1:9/w.pth could not be read" in message


def test_offline_means_offline(places: Places, server: Server) -> None:
    offline = Places(places.folder, places.cache, offline=True, trust=server.trust)
    message = refused("weights_missing", base(server.url("/w.pth", DATA)), offline)
    assert "offline" in message and server.asked == []
    for part in (FILE, base("").sha256, f"{server.address}/w.pth", str(places.folder)):
        assert part in message


def test_another_programs_cache_is_used_and_left_alone(places: Places, server: Server) -> None:
    assert places.cache is not None and places.folder is not None
    places.cache.mkdir()
    (places.cache / FILE).write_bytes(DATA)
    one = base(server.url("/w.pth", DATA))
    assert obtain(one, places) == DATA and server.asked == []
    (places.cache / FILE).write_bytes(b"damaged")
    assert obtain(one, places) == DATA and server.asked == ["/w.pth"]
    assert (places.cache / FILE).read_bytes() == b"damaged"
    assert (places.folder / FILE).read_bytes() == DATA


def test_a_damaged_file_is_replaced_or_named(places: Places, server: Server) -> None:
    assert places.folder is not None
    places.folder.mkdir()
    (places.folder / FILE).write_bytes(b"damaged")
    one = base(server.url("/w.pth", DATA))
    with pytest.raises(PluginError, match="is not the file that was published") as refusal:
        read(one, Places(places.folder))
    assert refusal.value.code == "weights_changed" and str(places.folder / FILE) in str(refusal.value)
    assert obtain(one, places) == DATA
    assert (places.folder / FILE).read_bytes() == DATA


def test_two_at_once_both_have_it(places: Places, server: Server) -> None:
    both = threading.Barrier(2, timeout=30)

    def answer(request: BaseHTTPRequestHandler) -> None:
        both.wait()
        send(request, DATA)

    server.answers["/w.pth"] = answer
    one, answers = base(f"{server.address}/w.pth"), []
    threads = [threading.Thread(target=lambda: answers.append(obtain(one, places))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [DATA, DATA]
    assert places.folder is not None
    assert [path.name for path in places.folder.iterdir()] == [FILE]


def test_a_stop_ends_the_download(places: Places, server: Server) -> None:
    def stop() -> bool:
        raise TrainingStopped("stopped")

    with pytest.raises(TrainingStopped):
        obtain(base(server.url("/w.pth", DATA)), places, stop=stop)
    assert places.folder is not None and not places.folder.exists()


def test_a_folder_that_cannot_be_written_does_not_stop_a_training(places: Places, server: Server) -> None:
    assert places.folder is not None
    places.folder.write_text("a file where a folder should be")
    lines: list[str] = []
    assert obtain(base(server.url("/w.pth", DATA)), places, log=lines.append) == DATA
    (line,) = lines
    assert "cannot be kept" in line


def test_an_installed_package_is_read_and_never_downloaded() -> None:
    for one in catalogue.INSTALLED:
        assert hashlib.sha256(read(one, Places())).hexdigest() == one.sha256
    gone = Base(**{**vars(catalogue.LITE0), "package": "not_there"})
    with pytest.raises(PluginError, match="pip install not_there"):
        obtain(gone, Places(offline=False))


def test_the_catalogue_fits_the_files() -> None:
    for one in catalogue.ALL:
        assert len(one.sha256) == 64 and one.sha256.startswith(one.file.removesuffix(".pth")[-8:])
        assert bool(one.package) != bool(one.url)
        assert one.url.startswith("https://") or one.package
    accuracies = [one.accuracy for one in catalogue.LARGER]
    assert accuracies == sorted(accuracies, reverse=True)
    assert len({one.name for one in catalogue.ALL}) == len(catalogue.ALL)
