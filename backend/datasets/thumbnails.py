"""Small pictures of images for pages: made by the safe decoder, kept on disk in a folder of bounded size."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from backend.settings import Settings
from backend.storage import ObjectStore
from plugins.images import Limits, decode

SIDE = 240  # pixels of the longer side
MEDIA_TYPE = "image/webp"
NEUTRAL = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24" width="240" height="240">'
    '<g fill="none" stroke="#8a94a6"><path d="M8.5 8.5h7v7h-7z"/><path d="M7 17 17 7"/></g></svg>'
)
"""The picture that stands for an image that cannot be shown."""
NEUTRAL_TYPE = "image/svg+xml"
NEUTRAL_AGE = 60  # seconds that a browser may keep it: a store comes back, an image is mended
_QUALITY = 80
_CAPACITY = 256 * 1024**2  # bytes of all thumbnails together, about 30,000 of them
_TRIM_TO = 0.8  # of the capacity
_TRIM_EVERY = 500  # new thumbnails of one process
_TOUCH_AFTER = 3600.0  # seconds; a thumbnail that is used gets a new date at most this often


def make(data: bytes, limits: Limits) -> bytes:
    """The thumbnail of an image file, upright, as WEBP. Raises `plugins.images.ImageError`."""
    image = decode(data, wanted_side=SIDE, limits=limits).image
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()


def read(store: ObjectStore, bucket: str, key: str, settings: Settings) -> bytes:
    """The thumbnail of an object, within the limits of the settings.

    Raises `plugins.images.ImageError`, `TooLarge`, and what the store raises.
    """
    data = store.read(bucket, key, settings.max_image_bytes)
    return make(data, Limits(settings.max_image_bytes, settings.max_image_pixels))


@dataclass
class Cache:
    """Thumbnails in a folder; those used longest ago go when it holds more than `capacity` bytes.

    Several processes may use one folder. What cannot be kept, on a full disk, is made again each time.
    """

    folder: Path
    capacity: int = _CAPACITY
    trim_every: int = _TRIM_EVERY
    _made: int = 0

    def get(self, key: str, produce: Callable[[], bytes]) -> bytes:
        """The thumbnail of that key, made by `produce` when it is not there. Raises what `produce` does."""
        name = hashlib.sha256(key.encode()).hexdigest()
        path = self.folder / name[:2] / name
        with suppress(OSError):
            data = path.read_bytes()
            self._touch(path)
            return data
        data = produce()
        with suppress(OSError):
            self._keep(path, data)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
            os.replace(partial, path)
        finally:
            Path(partial).unlink(missing_ok=True)
        self._made += 1
        if self._made % self.trim_every == 0:
            self.trim()

    def trim(self) -> None:
        """Remove those used longest ago until the rest is well below the capacity, if it is above."""
        found = []
        for path in self.folder.glob("*/*"):
            with suppress(OSError):  # another process trims, too
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self.capacity:
            return
        for _, size, path in sorted(found):
            if total <= _TRIM_TO * self.capacity:
                break
            with suppress(OSError):
                path.unlink()
            total -= size

    @staticmethod
    def _touch(path: Path) -> None:
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _TOUCH_AFTER:
                os.utime(path)
