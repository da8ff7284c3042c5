"""The bundles on this host: one folder a digest, every byte verified before a predictor reads it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

from plugins import bundle as bundles

_AN_HOUR = 3600  # seconds


class BundleCache:
    """`fetch(digest, file)` writes the zip of a bundle into a file.

    Several processes may share a folder: each unpacks beside the others, and the first one's folder stays.
    """

    def __init__(self, folder: Path, fetch: Callable[[str, Path], None]) -> None:
        self._folder = folder
        self._fetch = fetch
        folder.mkdir(parents=True, exist_ok=True)

    def folder_of(self, digest: str) -> Path:
        """Where the bundle lies, or would."""
        return self._folder / digest

    def get(self, digest: str) -> Path:
        """The verified folder of a bundle; one that was changed on this host's disk is fetched again.

        Raises `BundleError` when what was fetched is not the bundle, and what `fetch` raises.
        """
        target = self.folder_of(digest)
        if target.exists():
            try:
                return bundles.verify(target, digest=digest).folder
            except bundles.BundleError:
                shutil.rmtree(target, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{digest[:12]}.", dir=self._folder) as scratch:
            archive = Path(scratch) / "bundle.zip"
            self._fetch(digest, archive)
            return bundles.unpack(archive, target, digest=digest).folder

    def keep_only(self, digests: Collection[str]) -> None:
        """Remove every other bundle, and what a process that was killed left half-way."""
        for entry in self._folder.iterdir():
            fetching = entry.name.startswith(".") and time.time() - entry.stat().st_mtime < _AN_HOUR
            if entry.is_dir() and entry.name not in digests and not fetching:
                shutil.rmtree(entry, ignore_errors=True)
