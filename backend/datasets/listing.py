"""What the objects of a listing are, told by key and size: image, folder marker or something else."""

from __future__ import annotations

from dataclasses import dataclass, field
from posixpath import splitext
from typing import Any, Literal

from backend.storage import ObjectInfo
from plugins.images import EXTENSIONS

Kind = Literal["image", "folder", "not_an_image", "format_not_supported", "odd_key"]

SAMPLES = 20  # keys that are named one by one in the findings of one kind
_OTHER_FORMATS = frozenset(
    (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jfif", ".psd", ".svg", ".pdf", ".ico")
)


def kind_of(info: ObjectInfo) -> Kind:
    """What this object is."""
    if info.key.endswith("/"):
        return "folder"
    path = f"/{info.key}"
    if "\x00" in path or "/./" in path or "/../" in path:
        return "odd_key"  # neither the client nor every database can hold such a key
    if "/__MACOSX/" in path or path.rpartition("/")[2].startswith("._"):
        return "not_an_image"  # what macOS adds to archives and foreign disks
    suffix = splitext(path)[1].lower()
    if suffix in EXTENSIONS:
        return "image"
    if suffix in _OTHER_FORMATS:
        return "format_not_supported"
    return "folder" if info.size == 0 else "not_an_image"


@dataclass
class Tally:
    """The counts of one sync, and the first keys of what was left out. Travels as JSON."""

    counts: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        self.counts[name] = self.counts.get(name, 0) + number

    def leave_out(self, kind: str, key: str) -> None:
        """Count an object that does not enter the index, and keep its key if it is among the first."""
        self.add(kind)
        kept = self.samples.setdefault(kind, [])
        if len(kept) < SAMPLES:
            kept.append(key.replace("\x00", "\\0"))

    def dump(self) -> dict[str, Any]:
        """As JSON."""
        return {"counts": self.counts, "samples": self.samples}

    @classmethod
    def load(cls, data: dict[str, Any]) -> Tally:
        """From `dump`."""
        return cls(dict(data.get("counts", {})), {k: list(v) for k, v in data.get("samples", {}).items()})
