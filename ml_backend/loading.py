"""The models that are open: loaded in the background, a few at a time, shared by all requests.

Loading one means fetching its bundle, checking every byte and making an ONNX Runtime session. Nobody but a
prediction waits for that, and it only so long.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog

from backend.errors import AppError
from backend.models.opening import OpenedModel

logger = structlog.get_logger()
_RETRY_SECONDS = 15.0  # between two tries to load a model that could not be loaded


class NotLoaded(Exception):
    """The model cannot answer now; the message says why. Later it may."""


@dataclass
class _Entry:
    future: Future[OpenedModel] = field(default_factory=Future)
    failed_at: float = 0.0


class Models:
    """`open_model(digest)` opens one; at most `limit` stay open, the ones that were not asked for go."""

    def __init__(self, open_model: Callable[[str], OpenedModel], *, limit: int = 3) -> None:
        self._open = open_model
        self._limit = limit
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._loading = threading.Semaphore(2)

    def prepare(self, digest: str) -> None:
        """Begin to load it unless it is loaded or was just found to be unloadable. Never waits."""
        self._entry(digest)

    def get(self, digest: str, wait: float) -> OpenedModel:
        """The open model, waiting up to `wait` seconds. Raises `NotLoaded`."""
        try:
            return self._entry(digest).future.result(timeout=wait)
        except TimeoutError:
            raise NotLoaded("the model is still being loaded; ask again in a moment") from None
        except AppError as error:
            raise NotLoaded(str(error)) from None
        except Exception:
            raise NotLoaded("the model cannot be opened; the log of the ML backend says why") from None

    def open_digests(self) -> list[str]:
        """What is loaded or being loaded, the most recently wanted last."""
        with self._lock:
            return list(self._entries)

    def _entry(self, digest: str) -> _Entry:
        with self._lock:
            entry = self._entries.get(digest)
            if entry is not None and not self._try_again(entry):
                self._entries.move_to_end(digest)
                return entry
            entry = self._entries[digest] = _Entry()
            self._entries.move_to_end(digest)
            while len(self._entries) > self._limit:
                self._entries.popitem(last=False)
        # A daemon: a load that hangs must not keep the process from ending.
        threading.Thread(target=self._load, args=(digest, entry), name="load", daemon=True).start()
        return entry

    @staticmethod
    def _try_again(entry: _Entry) -> bool:
        return bool(entry.failed_at) and time.monotonic() - entry.failed_at > _RETRY_SECONDS

    def _load(self, digest: str, entry: _Entry) -> None:
        log = logger.bind(digest=digest[:12])
        started = time.monotonic()
        try:
            with self._loading:
                opened = self._open(digest)
        except Exception as error:  # a plugin of others may raise anything; the next try comes later
            entry.failed_at = time.monotonic()
            log.warning("model_not_loaded", error=str(error), exc_info=not isinstance(error, AppError))
            entry.future.set_exception(error)
            return
        log.info("model_loaded", seconds=round(time.monotonic() - started, 2))
        entry.future.set_result(opened)
