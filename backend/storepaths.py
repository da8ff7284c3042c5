"""How a place in an object store is written: bucket names, keys and `s3://BUCKET/PREFIX`."""

from __future__ import annotations

import re

from backend.errors import InvalidRequest

SCHEME = "s3://"
_MAX_PREFIX = 900  # bytes; S3 keys have at most 1024, and file names must fit behind the prefix
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_bucket(name: str) -> str:
    """The bucket's name, if it keeps the rules of S3. Raises `InvalidRequest`."""
    valid = _BUCKET.fullmatch(name) and not _IP_ADDRESS.fullmatch(name)
    if not valid or any(pair in name for pair in ("..", ".-", "-.")) or name.startswith("xn--"):
        raise InvalidRequest(
            f"{name[:80]!r} cannot name a bucket: 3 to 63 characters, lower-case letters, digits, dots and "
            "hyphens, starting and ending with a letter or digit"
        )
    return name


def check_prefix(prefix: str) -> str:
    """The prefix as datasets keep it: empty, or ending with a slash. Raises `InvalidRequest`."""
    if prefix and not prefix.endswith("/"):
        prefix += "/"
    segments = prefix.split("/")[:-1]
    if any(segment in ("", ".", "..") for segment in segments):
        raise InvalidRequest(f"{prefix[:80]!r} cannot be a prefix: it has an empty, . or .. folder in it")
    if "\\" in prefix or _CONTROL.search(prefix):
        raise InvalidRequest(f"{prefix[:80]!r} cannot be a prefix: it has a backslash or a control character")
    if not is_text(prefix) or len(prefix.encode()) > _MAX_PREFIX:
        raise InvalidRequest(f"{prefix[:80]!r} cannot be a prefix: at most {_MAX_PREFIX} bytes of UTF-8")
    return prefix


def parse_path(path: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://BUCKET/PREFIX`; the prefix is empty or ends with a slash.

    Raises `InvalidRequest`.
    """
    if not path.startswith(SCHEME):
        raise InvalidRequest(f"{path[:80]!r} is no place in a bucket: write it like s3://BUCKET/PREFIX")
    bucket, _, prefix = path.removeprefix(SCHEME).partition("/")
    return check_bucket(bucket), check_prefix(prefix)


def format_path(bucket: str, key: str) -> str:
    """`s3://BUCKET/KEY`."""
    return f"{SCHEME}{bucket}/{key}"


def check_key(key: str) -> str:
    """The key, if an object can be asked for by it. Raises `InvalidRequest`."""
    # The client refuses such segments too: a URL library between here and the store might resolve them.
    if not key or not is_text(key) or any(part in (".", "..") for part in key.split("/")):
        raise InvalidRequest(f"{key[:80]!r} cannot be read as the key of an object; rename the object")
    return key


def is_text(text: str) -> bool:
    """Whether the text can be written as UTF-8; a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
