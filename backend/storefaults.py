"""What an object store can answer instead of what was asked, as Sightloop's errors with a fix."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from urllib3 import exceptions as http

from backend.errors import (
    AppError,
    BucketMissing,
    ObjectMissing,
    StorageDenied,
    StorageFull,
    StorageUnreachable,
    TooLarge,
)
from backend.storepaths import format_path

_CREDENTIALS = {
    "InvalidAccessKeyId": "it does not know the access key",
    "SignatureDoesNotMatch": "the secret key is wrong",
    "InvalidTokenId": "it does not know the access key",
    "ExpiredToken": "the credentials have expired",
}
_SKEW = ("RequestTimeTooSkewed", "RequestExpired", "AccessDenied.RequestExpired")
_FULL = ("XMinioStorageFull", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded")
_REGION = ("AuthorizationHeaderMalformed", "PermanentRedirect", "Redirect", "InvalidRegion")
_BUSY = ("SlowDown", "ServiceUnavailable", "InternalError", "XMinioServerNotInitialized", "RequestTimeout")


@dataclass(frozen=True)
class Asked:
    """What was asked of which endpoint; bucket and key may be empty."""

    endpoint: str
    bucket: str = ""
    key: str = ""

    @property
    def place(self) -> str:
        """The place in words."""
        return format_path(self.bucket, self.key) if self.bucket else "the store"


def refused(asked: Asked, code: str, status: int, region: str) -> AppError:
    """The store answered with an S3 error; `region` is the one that the bucket is in, if it said so."""
    if code == "NoSuchBucket":
        return missing_bucket(asked)
    if code in ("NoSuchKey", "NoSuchObject", "ObjectNotFound") or status == 404:
        return ObjectMissing(f"there is no object {asked.place} at {asked.endpoint}")
    if code in _FULL or status == 507:
        return StorageFull(f"{asked.endpoint} has no room for {asked.place} ({code}); make room there")
    if code in _BUSY or status >= 500:
        return busy(asked, code)
    return StorageDenied(f"{asked.endpoint} refuses {asked.place}: {_denial(code, region)}")


def missing_bucket(asked: Asked) -> BucketMissing:
    """There is no such bucket."""
    return BucketMissing(
        f"there is no bucket {asked.bucket!r} at {asked.endpoint}; make it, or mend the name"
    )


def _denial(code: str, region: str) -> str:
    if code in _CREDENTIALS:
        return f"{_CREDENTIALS[code]} ({code}); mend the credentials of the storage connection"
    if code in _SKEW:
        return f"the clocks of the two machines differ too much ({code}); set this machine's clock"
    if code in _REGION:
        return f"the region is wrong ({code}); set it to {region or 'the region of the bucket'}"
    if code == "AccessDenied":
        return "access denied; allow this access key to list, read and write there"
    return f"it answers {code or 'an error'}"


def busy(asked: Asked, answer: str) -> StorageUnreachable:
    """The store is there and cannot serve now."""
    return StorageUnreachable(
        f"{asked.endpoint} cannot serve {asked.place} now (it answers {answer}); look at the store"
    )


def strange(asked: Asked, status: int) -> AppError:
    """An HTTP error that is not in the form of an S3 store."""
    if status >= 500 or status == 429:
        return busy(asked, f"HTTP {status}")
    if status in (401, 403):
        return StorageDenied(
            f"{asked.endpoint} refuses {asked.place}: HTTP {status}, not in the form of an S3 store"
        )
    return not_s3(asked, f"it answers HTTP {status} in another form")


def not_s3(asked: Asked, reason: str) -> StorageUnreachable:
    """Something else answers there."""
    return StorageUnreachable(
        f"{asked.endpoint} answers, but it is no S3 endpoint ({reason}); give the address and port of the S3 "
        "interface, with http:// or https:// as it serves"
    )


def unreachable(asked: Asked, error: http.HTTPError) -> StorageUnreachable:
    """The network does not get there."""
    return StorageUnreachable(
        f"{asked.endpoint} cannot be reached for {asked.place}: {_network_reason(error)}; "
        "check the address and whether the store is running"
    )


def too_large(asked: Asked, size: int, limit: int) -> TooLarge:
    """The object has more bytes than the caller wants."""
    return TooLarge(f"{asked.place} has {size:,} bytes or more; at most {limit:,} are read")


def disk(error: OSError, path: Path) -> Exception:
    """A local disk that is full; other errors stay what they are."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"the disk under {path.parent} is full; make room there")
    return error


def _network_reason(error: http.HTTPError) -> str:
    reason: object = getattr(error, "reason", None) or error
    for kinds, text in _REASONS:
        if isinstance(reason, kinds) or isinstance(error, kinds):
            return text
    return "the connection fails"


_REASONS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((http.NameResolutionError,), "the host name is not known"),
    ((http.NewConnectionError,), "the connection is refused"),
    ((http.ConnectTimeoutError,), "nobody answers there"),
    ((http.ReadTimeoutError,), "it takes too long to answer"),
    ((http.SSLError,), "the TLS connection fails (its certificate is not trusted, or it serves http://)"),
    ((http.ProtocolError,), "the connection breaks off"),
)
