"""What an object store can answer instead of what was asked, as Sightloop's errors with a fix."""

from __future__ import annotations

from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3 import exceptions as http

from backend.errors import (
    AppError,
    BucketMissing,
    ObjectMissing,
    StorageDenied,
    StorageFull,
    StorageUnreachable,
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


def translate(error: Exception, endpoint: str, bucket: str = "", key: str = "") -> AppError:
    """The error that says what `error`, raised by the minio client or by urllib3, means to a user."""
    place = format_path(bucket, key) if bucket else "the store"
    if isinstance(error, S3Error):
        return _refusal(error, endpoint, bucket, place)
    if isinstance(error, ServerError):
        return _busy(endpoint, place, f"HTTP {error.status_code}")
    if isinstance(error, InvalidResponseError):
        return _not_s3_or_busy(error, endpoint, place)
    if isinstance(error, http.HTTPError):
        return StorageUnreachable(
            f"{endpoint} cannot be reached for {place}: {_network_reason(error)}; "
            "check the address and whether the store is running"
        )
    return _not_s3(endpoint, "its answer is not that of an S3 store")


def missing_bucket(endpoint: str, bucket: str) -> str:
    """The sentence for a bucket that is not there."""
    return f"there is no bucket {bucket!r} at {endpoint}; make it, or mend the name"


def _refusal(error: S3Error, endpoint: str, bucket: str, place: str) -> AppError:
    code = error.code or ""
    status = error.response.status if error.response is not None else 400
    if code == "NoSuchBucket":
        return BucketMissing(missing_bucket(endpoint, bucket))
    if code in ("NoSuchKey", "NoSuchObject", "ObjectNotFound") or status == 404:
        return ObjectMissing(f"there is no object {place} at {endpoint}")
    if code in _FULL or status == 507:
        return StorageFull(f"{endpoint} has no room for {place} ({code}); make room or raise its quota")
    if code in _BUSY or status >= 500:
        return _busy(endpoint, place, code)
    return StorageDenied(f"{endpoint} refuses {place}: {_denial(error, code)}")


def _denial(error: S3Error, code: str) -> str:
    if code in _CREDENTIALS:
        return f"{_CREDENTIALS[code]} ({code}); mend the credentials of the storage connection"
    if code in _SKEW:
        return f"the clocks of the two machines differ too much ({code}); set this machine's clock"
    if code in _REGION:
        region = error.response.headers.get("x-amz-bucket-region", "") if error.response is not None else ""
        return f"the region is wrong ({code}); set it to {region or 'the region of the bucket'}"
    if code == "AccessDenied":
        return "access denied; allow this access key to list, read and write there"
    return f"it answers {code or 'an error'}"


def _busy(endpoint: str, place: str, answer: str) -> StorageUnreachable:
    return StorageUnreachable(
        f"{endpoint} cannot serve {place} now (it answers {answer}); look at the store, then try again"
    )


def _not_s3_or_busy(error: InvalidResponseError, endpoint: str, place: str) -> AppError:
    status = int(error._code)  # the only way to learn it; the text holds the whole body
    if status >= 500 or status == 429:
        return _busy(endpoint, place, f"HTTP {status}")
    if status in (401, 403):
        return StorageDenied(f"{endpoint} refuses {place}: HTTP {status}, not in the form of an S3 store")
    return _not_s3(endpoint, f"it answers HTTP {status} in another form")


def _not_s3(endpoint: str, reason: str) -> StorageUnreachable:
    return StorageUnreachable(
        f"{endpoint} answers, but it is no S3 endpoint ({reason}); give the address and port of the S3 "
        "interface, with http:// or https:// as it serves"
    )


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
