"""Uploads to a store: which files are there already, and where the others go."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from backend.errors import BucketMissing
from backend.storage import ObjectInfo, ObjectStore

_ASKERS = 16


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
    """Ask the store for each file: stores list in orders of their own, so a listing cannot be relied on.

    Raises `BucketMissing`, and what the store raises.
    """
    created = False
    if not store.bucket_exists(bucket):
        if not create_bucket:
            raise BucketMissing(f"there is no bucket {bucket!r}")
        store.ensure_bucket(bucket)
        created = True
    present: list[ObjectInfo | None] = [None] * len(files)
    if not created:
        with ThreadPoolExecutor(_ASKERS, thread_name_prefix="stat") as pool:
            present = list(pool.map(lambda file: store.stat(bucket, file.key), files))
    urls = [
        (file.key, None if _is_same(file, info) else store.presigned_put(bucket, file.key, expires))
        for file, info in zip(files, present, strict=True)
    ]
    return Plan(urls, created)


def _is_same(file: File, info: ObjectInfo | None) -> bool:
    """An object that was put in one piece has its MD5 as etag."""
    return info is not None and info.size == file.size and info.etag.strip('"') == file.md5
