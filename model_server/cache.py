"""The bundles on this host: one folder a digest, every byte verified before it is served."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from plugins import bundle as bundles


class BundleCache:
    """`fetch(digest, file)` writes the zip of a bundle into a file."""

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
        try:
            return bundles.verify(target, digest=digest).folder
        except bundles.BundleError:
            shutil.rmtree(target, ignore_errors=True)
        archive = self._folder / f".{digest}.zip"
        try:
            self._fetch(digest, archive)
            return bundles.unpack(archive, target, digest=digest).folder
        finally:
            archive.unlink(missing_ok=True)

    def keep_only(self, digests: Collection[str]) -> None:
        """Remove every other bundle."""
        for entry in self._folder.iterdir():
            if entry.is_dir() and entry.name not in digests:
                shutil.rmtree(entry, ignore_errors=True)
