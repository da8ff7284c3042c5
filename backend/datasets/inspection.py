"""What one image's bytes tell: usable or not, size, hashes and findings. Pure: no store, no database."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from backend.datasets import similar
from backend.datasets.findings import Found
from plugins.images import EXTENSIONS, TRAINING_FORMATS, Header, ImageError, Limits, decode

SMALL = 30  # pixels of the shorter side


@dataclass(frozen=True)
class Inspection:
    """The result for one image; `width` and `height` are upright pixels. `retry` says that the image itself
    was not seen, so that the next check must look again.
    """

    found: list[Found] = field(default_factory=list)
    width: int | None = None
    height: int | None = None
    content_hash: str | None = None
    perceptual_hash: str | None = None
    retry: bool = False

    @property
    def usable(self) -> bool:
        """Whether it may be trained on."""
        return self.content_hash is not None and not any(item.blocks for item in self.found)


def inspect(key: str, data: bytes, limits: Limits) -> Inspection:
    """Look at one image: all of it is decoded, a JPEG at reduced size, which reads every byte as well."""
    content_hash = hashlib.sha256(data).hexdigest()
    try:
        decoded = decode(data, wanted_side=similar.WANTED_SIDE, limits=limits)
    except ImageError as error:
        return Inspection([Found(error.code, str(error), key)], content_hash=content_hash)
    return Inspection(
        found=[Found(code, message, key) for code, message in _notes(key, decoded.header)],
        width=decoded.width,
        height=decoded.height,
        content_hash=content_hash,
        perceptual_hash=similar.perceptual_hash(decoded.image),
    )


def _notes(key: str, header: Header) -> list[tuple[str, str]]:
    notes = []
    suffix = PurePosixPath(key).suffix.lower()
    if header.format not in TRAINING_FORMATS:
        notes.append(("format_only_predicts", f"it is a {header.format} image"))
    if EXTENSIONS.get(suffix) != header.format:
        notes.append(("wrong_extension", f"it is a {header.format} image and its name ends in {suffix}"))
    if min(header.width, header.height) < SMALL:
        notes.append(("too_small", f"it has {header.width} x {header.height} pixels"))
    if header.rotated:
        notes.append(("rotated", "its EXIF data say how to turn it"))
    if header.frames > 1 and header.format != "JPEG":  # a JPEG's other frames are thumbnails and depth maps
        notes.append(("animated", f"it has {header.frames} frames"))
    return notes
