"""How label files name images, and how such a name finds its image."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qs, unquote, urlsplit

_IMAGE = re.compile(r"\.(jpe?g|png|bmp|webp)$", re.IGNORECASE)
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file


def is_image_name(name: str) -> bool:
    """Whether it ends like the name of an image."""
    return bool(_IMAGE.search(name))


class Names:
    """Finds a dataset's image by the name that a file has for it."""

    def __init__(self, bucket: str, prefix: str, keys: Iterable[str]) -> None:
        """`keys` are all images of the dataset."""
        self._bucket, self._prefix = bucket, prefix
        self._keys = set(keys)
        self._by_base: dict[str, list[str]] = {}
        for key in self._keys:
            self._by_base.setdefault(key.rpartition("/")[2], []).append(key)

    def find(self, name: str) -> tuple[str, str]:
        """The key, or an empty one and the reason why there is none.

        A whole key or one below the prefix goes first; else the image whose path ends alike, if it is the
        only one: files come from machines where the folders were others.
        """
        plain = self._plain(name)
        for key in (plain, self._prefix + plain):
            if key in self._keys:
                return key, ""
        base = plain.rpartition("/")[2]
        found: list[str] = []
        for wanted in dict.fromkeys((base, _UPLOADED.sub("", base))):
            found = found or self._by_base.get(wanted, [])
        longest = max((_shared(key, plain) for key in found), default=0)
        best = [key for key in found if _shared(key, plain) == longest]
        if len(best) == 1:
            return best[0], ""
        if best:
            return "", f"{len(best):,} images of the dataset are called like it; name it with its folder"
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


def _shared(key: str, name: str) -> int:
    """How many folders from the end are the same."""
    count = 0
    for a, b in zip(key.split("/")[-2::-1], name.split("/")[-2::-1], strict=False):
        if a != b:
            break
        count += 1
    return count
