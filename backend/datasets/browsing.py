"""Looking around in a store before there is a dataset: buckets, folders, and how many images lie in them.

Each step asks the store for at most 1,000 names, so that it takes as long in a bucket of a million objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from backend.datasets.listing import kind_of
from backend.errors import InvalidRequest
from backend.storage import ObjectStore
from backend.storepaths import SCHEME, check_prefix, format_path, parse_path

STEP = 1000  # names that one step asks for
_SAMPLES = 6


@dataclass(frozen=True)
class Folder:
    """A bucket or a folder: its name, and the path that it is found at."""

    name: str
    path: str


@dataclass(frozen=True)
class Place:
    """A part of what lies directly at a path: `folders`, the number of `images` and of `others`. `above`
    leads there from the bucket on; it is empty where buckets are listed. `following` goes on.
    """

    path: str
    above: list[Folder]
    folders: list[Folder]
    images: int
    others: int
    following: str


@dataclass(frozen=True)
class Seen:
    """The images among the first names below a folder, all its folders included; `more` says that there are
    other names behind them. `samples` are paths of a few of the images, spread over those seen.
    """

    images: int
    more: bool
    samples: list[str]


def look(store: ObjectStore, path: str, following: str = "") -> Place:
    """What lies at `s3://BUCKET/PREFIX`; the buckets for an empty path, or for `s3://` alone.

    Raises `InvalidRequest` for another path, and what the store raises.
    """
    if path in ("", SCHEME):
        return Place("", [], [Folder(name, format_path(name, "")) for name in store.buckets()], 0, 0, "")
    bucket, prefix = parse_path(path)
    level = store.level(bucket, prefix, following)
    folders = [
        Folder(name.removeprefix(prefix).removesuffix("/"), format_path(bucket, name))
        for name in level.folders
        if _is_prefix(name)
    ]
    images = sum(kind_of(info) == "image" for info in level.objects)
    return Place(
        path=format_path(bucket, prefix),
        above=_above(bucket, prefix),
        folders=folders,
        images=images,
        others=len(level.objects) - images + len(level.folders) - len(folders),
        following=level.following,
    )


def count(store: ObjectStore, path: str) -> Seen:
    """The images among the first `STEP` names below a path. Raises as `look` does."""
    bucket, prefix = parse_path(path)
    found = list(islice(store.list(bucket, prefix), STEP))
    images = [info.key for info in found if kind_of(info) == "image"]
    stride = max(1, len(images) // _SAMPLES)
    samples = [format_path(bucket, key) for key in images[::stride][:_SAMPLES]]
    return Seen(len(images), len(found) == STEP, samples)


def _is_prefix(name: str) -> bool:
    """Whether a dataset could begin there; `a//` cannot be written as its path."""
    try:
        return check_prefix(name) == name
    except InvalidRequest:
        return False


def _above(bucket: str, prefix: str) -> list[Folder]:
    names = prefix.split("/")[:-1]
    return [
        Folder(bucket, format_path(bucket, "")),
        *(
            Folder(name, format_path(bucket, "".join(f"{part}/" for part in names[: depth + 1])))
            for depth, name in enumerate(names)
        ),
    ]
