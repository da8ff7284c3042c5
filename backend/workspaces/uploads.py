"""Uploads to a store: which files are there already, and where the others go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from backend.errors import BucketMissing, InvalidRequest
from backend.storage import ObjectInfo, ObjectStore


@dataclass(frozen=True)
class File:
    """A file of the client: key in the bucket, bytes, MD5 in hex."""

    key: str
    size: int
    md5: str


@dataclass(frozen=True)
class Plan:
    """For each file, in order, its key and a presigned URL, or None when its content is there already."""

    urls: list[tuple[str, str | None]]
    created_bucket: bool


def plan(
    store: ObjectStore, bucket: str, files: Sequence[File], *, create_bucket: bool, expires: timedelta
) -> Plan:
    """One walk over the listing beside the files, which must be sorted by key.

    Raises `InvalidRequest` when they are not, `BucketMissing`, and what the store raises.
    """
    keys = [file.key.encode() for file in files]
    if any(first >= second for first, second in pairwise(keys)):
        raise InvalidRequest("the files must be sorted by the UTF-8 bytes of their keys, each key once")
    created = False
    if not store.bucket_exists(bucket):
        if not create_bucket:
            raise BucketMissing(f"there is no bucket {bucket!r}")
        store.ensure_bucket(bucket)
        created = True
    present = {} if created else _present(store, bucket, files)
    urls = [
        (
            file.key,
            None if _is_same(file, present.get(file.key)) else store.presigned_put(bucket, file.key, expires),
        )
        for file in files
    ]
    return Plan(urls, created)


def _present(store: ObjectStore, bucket: str, files: Sequence[File]) -> dict[str, ObjectInfo]:
    """What the bucket has between the first key and the last."""
    wanted = {file.key for file in files}
    last = files[-1].key.encode()
    found: dict[str, ObjectInfo] = {}
    # A key without its last character sorts before it, so that the listing starts with the first file.
    for info in store.list(bucket, "", start_after=files[0].key[:-1]):
        if info.key.encode() > last:
            break
        if info.key in wanted:
            found[info.key] = info
    return found


def _is_same(file: File, info: ObjectInfo | None) -> bool:
    """An object that was put in one piece has its MD5 as etag."""
    return info is not None and info.size == file.size and info.etag.strip('"') == file.md5
