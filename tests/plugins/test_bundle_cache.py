"""The bundles on one host: fetched once, verified each time, shared by several processes."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from plugins import bundle as bundles
from plugins.bundle import Bundle, BundleError
from plugins.bundle_cache import BundleCache
from tests.model_server.bundles import make_bundle


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "made", tmp_path / "hold")


class Store:
    """Hands out one zip, and counts."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.fetched = archive, 0

    def __call__(self, digest: str, target: Path) -> None:
        self.fetched += 1
        shutil.copy(self.archive, target)


@pytest.fixture
def store(made: Bundle, tmp_path: Path) -> Store:
    return Store(bundles.pack(made, tmp_path / "bundle.zip"))


def test_a_bundle_is_fetched_once(made: Bundle, store: Store, tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache", store)
    folder = cache.get(made.manifest.digest)
    assert cache.get(made.manifest.digest) == folder and store.fetched == 1
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [made.manifest.digest]


def test_a_changed_bundle_is_fetched_again(made: Bundle, store: Store, tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache", store)
    (cache.get(made.manifest.digest) / "model.onnx").write_bytes(b"something else")
    assert bundles.verify(cache.get(made.manifest.digest)).manifest == made.manifest and store.fetched == 2


def test_what_is_not_the_bundle_leaves_nothing(store: Store, tmp_path: Path) -> None:
    cache = BundleCache(tmp_path / "cache", store)
    with pytest.raises(BundleError):
        cache.get("0" * 64)
    assert not list((tmp_path / "cache").iterdir())


def test_a_bundle_that_another_process_has_unpacked_meanwhile_is_good(
    made: Bundle, store: Store, tmp_path: Path
) -> None:
    other = BundleCache(tmp_path / "cache", store)

    def slow(digest: str, target: Path) -> None:
        other.get(digest)
        store(digest, target)

    cache = BundleCache(tmp_path / "cache", slow)
    assert cache.get(made.manifest.digest) == other.folder_of(made.manifest.digest)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == [made.manifest.digest]


def test_others_are_removed_and_what_is_being_fetched_stays(
    made: Bundle, store: Store, tmp_path: Path
) -> None:
    cache = BundleCache(tmp_path / "cache", store)
    cache.get(made.manifest.digest)
    for name in ("old", ".fresh", ".stale"):
        (tmp_path / "cache" / name).mkdir()
    os.utime(tmp_path / "cache" / ".stale", (time.time() - 7200,) * 2)
    cache.keep_only({made.manifest.digest})
    assert {entry.name for entry in (tmp_path / "cache").iterdir()} == {made.manifest.digest, ".fresh"}
