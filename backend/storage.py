"""The object store: any S3-compatible one, through the minio client, which only this module knows.

Every failure leaves as `StorageUnreachable`, `StorageDenied`, `BucketMissing`, `ObjectMissing` or
`StorageFull`, in one sentence with the endpoint and the place in it, and never with a secret.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import urllib3
from minio import Minio
from minio.datatypes import parse_list_objects
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, MinioException, S3Error, ServerError

from backend import storefaults
from backend.errors import (
    AppError,
    BucketMissing,
    InvalidRequest,
    ObjectMissing,
    StorageDenied,
    StorageUnreachable,
)
from backend.storefaults import Asked
from backend.storepaths import check_bucket, check_key, format_path

ADDRESSINGS = ("auto", "path", "virtual")
_READ_ATTEMPTS = 3
_CHUNK = 256 * 1024
_PART = 16 * 1024 * 1024
_SLOWEST = 20_000  # bytes a second: an answer that trickles slower than this is given up


@dataclass(frozen=True)
class StoreAddress:
    """Where a store is and who asks.

    `addressing` is `path`, `virtual` (the bucket in the host name), or `auto`, which is virtual for AWS and
    Alibaba OSS and path for others. `public_endpoint` is the address that clients outside reach the same
    store at, when it differs. `reserved` is a bucket that whoever asks here neither sees nor opens.
    """

    endpoint: str
    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    region: str = "us-east-1"
    addressing: str = "auto"
    public_endpoint: str = ""
    reserved: str = ""


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a listing. `size` in bytes; `etag` without quotes."""

    key: str
    etag: str
    size: int
    modified: datetime | None


@dataclass(frozen=True)
class Level:
    """A part of what lies directly in one folder: `folders` as whole prefixes that end with a slash,
    `objects`, and the token with which `ObjectStore.level` goes on; empty when this was the last part.
    """

    folders: list[str]
    objects: list[ObjectInfo]
    following: str


class ObjectStore:
    """One store. Thread-safe; to be made anew in every process."""

    def __init__(
        self, address: StoreAddress, *, connect_timeout: float = 3.0, read_timeout: float = 30.0
    ) -> None:
        """Connects to nothing yet; timeouts in seconds. Raises `InvalidRequest` for a senseless address."""
        self.address = address
        self._patience = read_timeout
        self._http = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=connect_timeout, read=read_timeout),
            maxsize=32,
            cert_reqs="CERT_REQUIRED",
            retries=urllib3.Retry(
                total=2,
                backoff_factor=0.2,
                status_forcelist=(500, 502, 503, 504),
                raise_on_status=False,
                respect_retry_after_header=False,  # a store may ask for an hour
            ),
        )
        self._client = _client(address, address.endpoint, self._http)
        self._public = _client(address, address.public_endpoint or address.endpoint, self._http)

    def close(self) -> None:
        """Close idle connections. The store may be used again."""
        self._http.clear()

    def check(self) -> None:
        """Try endpoint and credentials; returns when both are good.

        Raises `StorageUnreachable` (nobody answers, or something that is no S3 store) or `StorageDenied`
        (wrong credentials, wrong clock).
        """
        try:
            with self._faults():
                self._client.list_buckets()
        except StorageDenied as error:
            # The store knows these credentials and does not let them list the buckets: that is common.
            allowed = isinstance(error.__cause__, S3Error) and error.__cause__.code == "AccessDenied"
            if not (allowed and self.address.access_key):
                raise

    def bucket_exists(self, bucket: str) -> bool:
        """Whether the bucket is there and may be asked for. Raises `StorageDenied`, `StorageUnreachable`."""
        with self._faults(self._open(bucket)):
            return bool(self._client.bucket_exists(bucket))

    def ensure_bucket(self, bucket: str) -> None:
        """Make the bucket unless it is there."""
        if self.bucket_exists(bucket):
            return
        with self._faults(bucket):
            try:
                self._client.make_bucket(bucket)
            except S3Error as error:  # somebody else was faster
                if error.code not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                    raise

    def list(self, bucket: str, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        """The objects below the prefix, streamed page by page, folder markers (`x/`) among them.

        The order is the store's own: bytes of the key on S3, OSS and MinIO; folder by folder on SeaweedFS,
        where a slash sorts before every other byte. `start_after` goes on behind that key in that order.
        """
        with self._faults(self._open(bucket), prefix):
            found = self._client.list_objects(
                bucket, prefix=prefix or None, recursive=True, start_after=start_after or None
            )
            for item in found:
                yield _info(item)

    def buckets(self) -> tuple[str, ...]:
        """The buckets that this access key may list, by name. Raises `StorageDenied` if none."""
        with self._faults():
            names = sorted(bucket.name for bucket in self._client.list_buckets())
        return tuple(name for name in names if name != self.address.reserved)

    def level(self, bucket: str, prefix: str, following: str = "") -> Level:
        """What lies directly in a folder: one question to the store, which answers up to 1,000 names.

        `following` is that of the part before. It is the store's own token: going on behind a name would need
        the store's order, which differs from store to store.
        """
        query = {"list-type": "2", "delimiter": "/", "max-keys": "1000", "prefix": prefix}
        query["encoding-type"] = "url"  # XML cannot hold every key
        if following:
            query["continuation-token"] = following
        with self._faults(self._open(bucket), prefix):
            # The client's own listing walks on from page to page by itself and keeps the token to itself.
            answer = self._client._execute("GET", bucket, query_params=query)
            found, more, token, _ = parse_list_objects(answer)
        names = [_info(item) for item in found if item.object_name != prefix]  # a folder's own marker
        folders = [info.key for info in names if info.key.endswith("/")]
        objects = [info for info in names if not info.key.endswith("/")]
        return Level(folders, objects, (token or "") if more else "")

    def read(self, bucket: str, key: str, limit: int) -> bytes:
        """The object's bytes, whole or not at all; reading is tried again a few times.

        Raises `ObjectMissing`, `TooLarge` when it has more than `limit` bytes.
        """
        return self.read_version(bucket, key, limit)[0]

    def read_version(self, bucket: str, key: str, limit: int) -> tuple[bytes, str]:
        """As `read`, with the etag that these bytes have."""
        buffer = BytesIO()
        etag = self._fetch(bucket, key, buffer, limit)
        return buffer.getvalue(), etag

    def download(self, bucket: str, key: str, path: Path) -> None:
        """Write the object to `path`: the file is there whole or not at all. Raises `StorageFull`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            number, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        except OSError as error:
            raise storefaults.disk(error, path) from error
        partial = Path(name)
        try:
            with os.fdopen(number, "wb") as file:
                self._fetch(bucket, key, file, None)
            partial.replace(path)
        except OSError as error:
            raise storefaults.disk(error, path) from error
        finally:
            partial.unlink(missing_ok=True)

    def put_bytes(
        self, bucket: str, key: str, data: bytes, content_type: str = "application/octet-stream"
    ) -> None:
        """Write an object; it replaces one of that key."""
        self._put(bucket, key, BytesIO(data), len(data), content_type)

    def put_file(
        self, bucket: str, key: str, path: Path, content_type: str = "application/octet-stream"
    ) -> None:
        """Write a file as an object, in parts when it is large."""
        with path.open("rb") as file:
            self._put(bucket, key, file, path.stat().st_size, content_type)

    def _put(self, bucket: str, key: str, data: BinaryIO, size: int, content_type: str) -> None:
        with self._faults(self._open(bucket), check_key(key)):
            self._client.put_object(
                bucket, key, data, size, content_type=content_type, part_size=_PART, num_parallel_uploads=2
            )

    def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        """What the store says of one object; None when there is none. Raises `BucketMissing`."""
        try:
            with self._faults(self._open(bucket), check_key(key)):
                found = self._client.stat_object(bucket, key)
        except ObjectMissing:
            # The answer has no body: a missing bucket looks the same.
            if not self.bucket_exists(bucket):
                raise self._missing(bucket) from None
            return None
        return ObjectInfo(key, found.etag or "", found.size or 0, found.last_modified)

    def delete(self, bucket: str, keys: Iterable[str]) -> None:
        """Delete the objects; those that are gone already are no error."""
        with self._faults(self._open(bucket)):
            # The client deletes only as its answer is walked.
            failed = list(self._client.remove_objects(bucket, (DeleteObject(check_key(key)) for key in keys)))
        if failed:
            raise StorageDenied(
                f"{self.address.endpoint} did not delete {format_path(bucket, failed[0].name or '')} and "
                f"{len(failed) - 1} others ({failed[0].code}); allow this access key to delete objects there"
            )

    def presigned_put(self, bucket: str, key: str, expires: timedelta) -> str:
        """A URL at the public endpoint where anyone may PUT this object until it expires (at most 7 days)."""
        with self._faults(self._open(bucket), check_key(key)):
            return str(self._public.presigned_put_object(bucket, key, expires=expires))

    def _fetch(self, bucket: str, key: str, target: BinaryIO, limit: int | None) -> str:
        self._open(bucket)
        check_key(key)
        for attempt in range(1, _READ_ATTEMPTS + 1):
            target.seek(0)
            target.truncate()
            try:
                with self._faults(bucket, key):
                    return self._stream(bucket, key, target, limit)
            except StorageUnreachable as error:
                # Only a body that broke off is worth another try here: the rest was tried again already.
                broken = isinstance(error.__cause__, urllib3.exceptions.ProtocolError)
                if attempt == _READ_ATTEMPTS or not broken:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _stream(self, bucket: str, key: str, target: BinaryIO, limit: int | None) -> str:
        asked = Asked(self.address.endpoint, bucket, key)
        with closing(self._client.get_object(bucket, key)) as answer:
            size = int(answer.headers.get("content-length", -1))
            if limit is not None and size > limit:
                raise storefaults.too_large(asked, size, limit)
            deadline = time.monotonic() + self._patience + max(size, 0) / _SLOWEST
            done = 0
            for chunk in answer.stream(_CHUNK):  # checks the length that was announced
                done += target.write(chunk)
                if limit is not None and done > limit:
                    raise storefaults.too_large(asked, done, limit)
                if time.monotonic() > deadline:
                    raise urllib3.exceptions.ReadTimeoutError(self._http, key, "the answer only trickles")  # type: ignore[arg-type]
            answer.release_conn()
            return str(answer.headers.get("etag", "")).strip('"')

    def _open(self, bucket: str) -> str:
        """The bucket's name, if it may be asked for. Raises `InvalidRequest`."""
        if bucket and bucket == self.address.reserved:
            raise InvalidRequest(
                f"bucket {bucket!r} at {self.address.endpoint} holds Sightloop's own models and snapshots; "
                "choose another bucket for images"
            )
        return check_bucket(bucket)

    def _missing(self, bucket: str) -> BucketMissing:
        return storefaults.missing_bucket(Asked(self.address.endpoint, bucket))

    @contextmanager
    def _faults(self, bucket: str = "", key: str = "") -> Iterator[None]:
        try:
            yield
        except (MinioException, urllib3.exceptions.HTTPError, ParseError, ValueError) as error:
            raise _translate(error, Asked(self.address.endpoint, bucket, key)) from error


def _info(item: Any) -> ObjectInfo:
    return ObjectInfo(item.object_name or "", item.etag or "", item.size or 0, item.last_modified)


def _translate(error: Exception, asked: Asked) -> AppError:
    if isinstance(error, S3Error):
        answer = error.response
        status = answer.status if answer is not None else 400
        region = answer.headers.get("x-amz-bucket-region", "") if answer is not None else ""
        return storefaults.refused(asked, error.code or "", status, region)
    if isinstance(error, ServerError):
        return storefaults.busy(asked, f"HTTP {error.status_code}")
    if isinstance(error, InvalidResponseError):
        return storefaults.strange(asked, int(error._code))  # its text holds the whole body
    if isinstance(error, urllib3.exceptions.HTTPError):
        return storefaults.unreachable(asked, error)
    return storefaults.not_s3(asked, "its answer is not that of an S3 store")


def _client(address: StoreAddress, endpoint: str, http: urllib3.PoolManager) -> Any:
    try:
        parts = urlsplit(endpoint)
        plain = parts.path in ("", "/") and not any(char.isspace() for char in endpoint)
        if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
            raise ValueError("an address like https://s3.example.org is expected, without a path")
        client = Minio(
            parts.netloc,
            access_key=address.access_key or None,
            secret_key=address.secret_key or None,
            secure=parts.scheme == "https",
            region=address.region or None,
            http_client=http,
        )
    except ValueError as error:
        raise InvalidRequest(f"{endpoint!r} cannot be the endpoint of a store: {error}") from None
    if address.addressing not in ADDRESSINGS:
        raise InvalidRequest(f"addressing is one of {', '.join(ADDRESSINGS)}, not {address.addressing!r}")
    if address.addressing == "path":
        client.disable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    elif address.addressing == "virtual":
        client.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
    return client
