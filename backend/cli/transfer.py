"""Moving a folder into a bucket: what is sent, in which order, and how each file gets there."""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx

from backend.cli.client import DIRECT, Client, Resource, named

BATCH = 500
THREADS = 8
_ATTEMPTS = 4
_LARGEST = 5 * 1024**3  # of one PUT, in every S3
_LONGEST_KEY = 1024
_JUNK = frozenset({"thumbs.db", "desktop.ini", "__macosx", "$recycle.bin"})
_TIMEOUT = httpx.Timeout(120, connect=10)
In = TypeVar("In")
Out = TypeVar("Out")
_TRY_AGAIN = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Source:
    """One file and the key that it gets."""

    path: Path
    key: str

    @property
    def order(self) -> bytes:
        """S3 sorts keys by their UTF-8 bytes."""
        return self.key.encode()


@dataclass
class Counts:
    """What became of the files so far."""

    total: int = 0
    uploaded: int = 0
    skipped: int = 0
    bytes: int = 0
    created_bucket: bool = False
    failures: list[Resource] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Files that need no more work."""
        return self.uploaded + self.skipped + len(self.failures)

    def fail(self, name: str, reason: str) -> None:
        """One file did not get there."""
        self.failures.append({"key": name, "reason": reason})


class _Unsendable(Exception):
    """One file cannot be sent; the message says why."""

    def __init__(self, reason: str, key: str) -> None:
        super().__init__(reason)
        self.key = key


@dataclass(frozen=True)
class _Measured:
    source: Source
    size: int
    md5: bytes


def sources(folder: Path, prefix: str, counts: Counts) -> list[Source]:
    """Every file below the folder, sorted by key, without hidden files and what desktops leave behind.

    Links are followed, each folder once, so that a circle of links ends.
    """
    found: list[Source] = []
    for path in _files(folder, counts):
        name = path.relative_to(folder).as_posix()
        try:
            found.append(Source(path, _key(prefix + name)))
        except _Unsendable as error:
            counts.fail(error.key, str(error))
    counts.total = len(found) + len(counts.failures)
    return sorted(found, key=lambda source: source.order)


def _files(folder: Path, counts: Counts) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()

    def unreadable(error: OSError) -> None:
        counts.fail(_printable(os.path.relpath(error.filename, folder)), f"cannot be read: {error.strerror}")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=unreadable):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _is_junk(name))
        yield from (Path(place, name) for name in sorted(names) if not _is_junk(name))


def _is_junk(name: str) -> bool:
    return name.startswith(".") or name.lower() in _JUNK


def _printable(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _key(name: str) -> str:
    shown = _printable(name)
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise _Unsendable("the name is not valid UTF-8; rename it", shown) from None
    if length > _LONGEST_KEY:
        raise _Unsendable(f"the key has {length} bytes and S3 takes {_LONGEST_KEY}; shorten the name", shown)
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        raise _Unsendable("the name holds a control character; rename it", shown)
    if "\\" in name:  # SeaweedFS stores it as a slash: another key than the one that was asked for
        raise _Unsendable("the name holds a backslash, which some stores turn into a slash; rename it", shown)
    return name


@dataclass(frozen=True)
class Target:
    """Where the files go."""

    client: Client
    connection: str
    bucket: str


def send(target: Target, files: Sequence[Source], counts: Counts, report: Callable[[], None]) -> None:
    """Send every file whose content is not there yet, several at once; `report` is called as they end.

    A file that cannot be sent is counted and stops no other; what the API refuses is raised.
    """
    with ThreadPoolExecutor(THREADS) as pool, httpx.Client(timeout=_TIMEOUT, mounts=DIRECT) as http:
        try:
            for start in range(0, len(files), BATCH):
                measured = list(_successes(pool, _measure, files[start : start + BATCH], counts))
                if not measured:
                    continue
                urls = _plan(target, measured, counts)
                waiting = [item for item in measured if urls[item.source.key]]
                counts.skipped += len(measured) - len(waiting)
                report()
                for size in _successes(pool, partial(_put, http, urls), waiting, counts):
                    counts.uploaded += 1
                    counts.bytes += size
                    report()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _successes(
    pool: ThreadPoolExecutor, action: Callable[[In], Out], items: Iterable[In], counts: Counts
) -> Iterator[Out]:
    """What the action gave for each item, in order; what cannot be sent goes to the failures."""
    futures = [pool.submit(action, item) for item in items]
    for future in futures:
        try:
            yield future.result()
        except _Unsendable as error:
            counts.fail(error.key, str(error))


def _measure(source: Source) -> _Measured:
    digest, size = hashlib.md5(usedforsecurity=False), 0
    try:
        if not source.path.is_file():
            raise _Unsendable("is no regular file, or a link to nothing", source.key)
        with source.path.open("rb") as file:
            while block := file.read(1024 * 1024):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise _Unsendable(f"cannot be read: {error.strerror}", source.key) from None
    if size > _LARGEST:
        raise _Unsendable("is larger than 5 GiB, the most that S3 takes in one piece", source.key)
    return _Measured(source, size, digest.digest())


def _plan(target: Target, measured: Sequence[_Measured], counts: Counts) -> dict[str, str | None]:
    files = [{"key": item.source.key, "size": item.size, "md5": item.md5.hex()} for item in measured]
    body = {"bucket": target.bucket, "create_bucket": True, "files": files}
    plan = target.client.post(f"{named('storage-connections', target.connection)}/uploads", body)
    counts.created_bucket |= bool(plan.get("created_bucket"))
    return {upload["key"]: upload["url"] for upload in plan["uploads"]}


def _put(http: httpx.Client, urls: dict[str, str | None], item: _Measured) -> int:
    """PUT one file; its size. The store compares the MD5, so a file that changes meanwhile is refused."""
    source = item.source
    headers = {
        "Content-Type": mimetypes.guess_type(source.path.name)[0] or "application/octet-stream",
        "Content-MD5": base64.b64encode(item.md5).decode(),
    }
    reason = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(0.5 * 2**attempt)
        try:
            with source.path.open("rb") as file:
                answer = http.put(str(urls[source.key]), content=file, headers=headers)
        except OSError as error:
            raise _Unsendable(f"cannot be read: {error.strerror}", source.key) from None
        except httpx.HTTPError as error:
            reason = f"the store does not take it ({type(error).__name__})"
            continue
        if answer.is_success:
            return item.size
        reason = f"the store refuses it ({answer.status_code} {_store_code(answer.text)})"
        if answer.status_code not in _TRY_AGAIN:
            break
    raise _Unsendable(reason, source.key)


def _store_code(text: str) -> str:
    found = re.search(r"<Code>(\w+)</Code>", text)
    return found.group(1) if found else "without a reason"
