"""How label files name images, and how such a name finds its image."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

_IMAGE = re.compile(r"\.(jpe?g|png|bmp|webp)$", re.IGNORECASE)
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


def is_image_name(name: str) -> bool:
    """Whether it ends like the name of an image."""
    return bool(_IMAGE.search(name))


def written(key: str, prefix: str) -> str:
    """What a file of ours calls the image: its key below the prefix, or the whole key where the part below it
    starts with the prefix too and so could be the whole key of another image.
    """
    name = key.removeprefix(prefix)
    return key if prefix and name.startswith(prefix) else name


def key_of(name: str, prefix: str) -> str:
    """The key of the image that `written` calls so."""
    return name if prefix and name.startswith(prefix) else prefix + name


def guarded(name: str) -> str:
    """A name for formats in which spaces at the ends mean nothing."""
    return f"./{name}" if name != name.strip() else name


class Names:
    """Finds a dataset's image by the name that a file has for it."""

    def __init__(self, bucket: str, prefix: str, keys: Iterable[str]) -> None:
        """`keys` are all images of the dataset."""
        self._bucket, self._prefix = bucket, prefix
        self._keys = set(keys)
        self._by_base: dict[str, list[str]] = {}
        for key in self._keys:
            self._by_base.setdefault(key.rpartition("/")[2], []).append(key)
        for alike in self._by_base.values():
            alike.sort(key=_upwards)

    def find(self, name: str) -> tuple[str, str]:
        """The key, or an empty one and the reason why there is none.

        A whole key or one below the prefix goes first, to the letter before all; else the image whose path
        ends alike, if it is the only one: files come from machines where the folders were others.
        """
        plain = self._plain(name)
        for told in (name, name.removeprefix(f"s3://{self._bucket}/"), name.removeprefix("./"), plain):
            for key in (told, self._prefix + told):
                if key in self._keys:
                    return key, ""
        base = plain.rpartition("/")[2]
        found: list[str] = []
        for wanted in dict.fromkeys((base, _UPLOADED.sub("", base))):
            found = found or self._by_base.get(wanted, [])
        first, end = _nearest(found, _upwards(plain))
        if end - first == 1:
            return found[first], ""
        if found:
            return "", f"{end - first:,} images of the dataset are called like it; name it with its folder"
        return "", "the dataset has no such image; sync it, or mend the name"

    def _plain(self, name: str) -> str:
        """Without scheme, host and what Label Studio puts around a path."""
        path = name.strip().replace("\\", "/")
        if "://" in path or path.startswith("/data/"):
            bare = f"s3://{self._bucket}/"
            if path.startswith(bare):
                return path.removeprefix(bare)
            try:
                parts = urlsplit(path)
            except ValueError:
                return path
            path = parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
        while path.startswith(("./", "/")):
            path = path.removeprefix("./").removeprefix("/")
        return path


def _upwards(name: str) -> list[str]:
    """Its folders, the innermost first."""
    return name.split("/")[-2::-1]


def _nearest(keys: Sequence[str], folders: list[str]) -> tuple[int, int]:
    """The range of those that have most of the innermost folders in common with these, of `keys` in the order
    of `_upwards`: what is alike stands side by side in it.
    """
    at = bisect_left(keys, folders, key=_upwards)
    shared = max((_shared(_upwards(key), folders) for key in keys[max(at - 1, 0) : at + 1]), default=0)
    wanted = folders[:shared]

    def alike(key: str) -> list[str]:
        return _upwards(key)[:shared]

    return bisect_left(keys, wanted, key=alike), bisect_right(keys, wanted, key=alike)


def _shared(some: list[str], others: list[str]) -> int:
    """How many are the same from the first on."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(some), len(others)))
