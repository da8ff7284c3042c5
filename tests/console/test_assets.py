"""Static files: their addresses, how long they are kept, and what is refused."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from flask import Flask

from backend.console import assets
from backend.console.vendoring import COMPRESSED, FILES, ROOT


def _linked(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="(/assets/[^"]+)"', page)


def test_everything_a_page_loads_is_there_and_kept_for_a_year(app: Flask) -> None:
    with app.test_client() as client:
        linked = _linked(client.get("/sign-in").text)
        assert len(linked) >= 4
        for url in linked:
            with client.get(url) as response:
                assert response.status_code == 200, url
                assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
                assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/0000000000000000/console.css",
        "/assets/missing/console.css",
        "/assets/0000000000000000/../pages.py",
        "/assets/0000000000000000/..%2fpages.py",
        "/assets/0000000000000000/vendor/htmx.LICENSE",
        "/static/console.css",
    ],
)
def test_other_addresses_are_refused(app: Flask, path: str) -> None:
    with app.test_client() as client:
        assert client.get(path).status_code == 404


def test_a_changed_file_has_another_address(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a")
    before = assets.read(tmp_path).url("a.css")
    (tmp_path / "a.css").write_text("b")
    assert assets.read(tmp_path).url("a.css") != before


def test_a_page_says_when_the_assets_are_not_installed(app: Flask, tmp_path: Path) -> None:
    app.extensions["sightloop.assets"] = assets.read(tmp_path)
    with app.test_client() as client:
        response = client.get("/sign-in")
    assert response.status_code == 200
    assert "not installed; run make up" in response.text


def test_nothing_inline_and_nothing_from_elsewhere_is_allowed(app: Flask) -> None:
    with app.test_client() as client:
        response = client.get("/sign-in")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy and "http" not in policy
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\bon\w+=|//", response.text)


def test_the_lock_file_has_a_hash_for_each_package_and_names_no_host() -> None:
    lock = json.loads((ROOT / "assets" / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name


def test_what_is_installed_is_what_is_listed() -> None:
    vendor = assets.STATIC / "vendor"
    assert vendor.is_dir(), "the console's assets are not installed; run make test"
    packed = {f"{name}.gz" for name in COMPRESSED}
    assert {path.name for path in vendor.iterdir()} == set(FILES) | packed


def test_a_browser_that_can_unpack_gets_the_compressed_file(app: Flask) -> None:
    url = app.extensions["sightloop.assets"].url("vendor/ort-wasm-simd-threaded.wasm")
    with app.test_client() as client:
        with client.get(url) as response:
            whole = response.data
            assert "Content-Encoding" not in response.headers
        with client.get(url, headers={"Accept-Encoding": "br, gzip"}) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Content-Type"] == "application/wasm"
            assert response.headers["Vary"] == "Accept-Encoding"
            assert len(response.data) < len(whole) / 3
            assert gzip.decompress(response.data) == whole
        with client.get(url, headers={"Accept-Encoding": "gzip;q=0"}) as response:
            assert "Content-Encoding" not in response.headers
