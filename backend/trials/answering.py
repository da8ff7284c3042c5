"""Answering the pictures of trials on the server: by the models that this process has open, one at a time.

A phone that looks through its camera asks several times a second; a picture that has to wait too long, or
behind too many others, is refused rather than queued, and each link has its share a minute.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from backend.errors import ModelInvalid, QueueUnavailable, TooManyRequests, UnsupportedImage
from backend.models import predicting
from backend.models.opening import OpenedModel, bundle_cache, open_bundle
from backend.models.predicting import Outcome, Source
from backend.runtime import Runtime
from backend.settings import Settings
from backend.trials.registry import digests_on_trial
from plugins import bundle, registry
from plugins.bundle_cache import BundleCache
from plugins.contract import BrowserModel, PluginError, Predictor
from plugins.images import Decoded, ImageError, Limits, decode

# Of a picture: pages send them no larger than they are looked at, 1,600 pixels on the longer side. Whoever
# holds a link needs no account, so its pictures may take little of this host's memory, even many at once.
MAX_BYTES = 2 * 1024**2
MAX_PIXELS = 4_000_000
PICTURES_A_MINUTE = 300
RETURNS_A_MINUTE = 20
_MINUTE = 60
_OPEN = 2  # models a process
_PATIENCE = 10.0  # seconds that a picture waits for those before it
# Pictures in a process, the one that is answered among them. Each holds one of the threads (8 under gunicorn)
# that all other requests need as well.
AT_ONCE = 3
_BUSY = 3  # seconds after which another try is worth it


@dataclass(frozen=True)
class OnTrial:
    """A model's bundle on this host, whether it reads regions of text, and how a web page runs it by itself:
    None for one that only a server runs.
    """

    folder: Path
    reads: bool
    browser: BrowserModel | None


class TrialModels:
    """The bundles of the models on trial in a folder of this host, and the few of them that are open."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._open: OrderedDict[str, OpenedModel] = OrderedDict()
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._turn = threading.Lock()

    def folder(self, digest: str) -> Path:
        """The verified folder of a bundle, fetched when it is not here; those of no trial leave.

        Raises `ModelInvalid` and what the object store raises.
        """
        cache = self._cache()
        there = cache.folder_of(digest).is_dir()
        try:
            found = cache.get(digest)
        except bundle.BundleError as error:
            raise ModelInvalid(f"the stored bundle of this model is damaged: {error}") from None
        if not there:
            with self._runtime.sessions() as session:
                cache.keep_only(digests_on_trial(session))
        return found

    def describe(self, digest: str) -> OnTrial:
        """What a page has to know of a model. Raises as `folder`."""
        folder = self.folder(digest)
        try:
            manifest = bundle.read_manifest(folder)
            plugin = registry.plugin(manifest.plugin)
            browser = registry.load(plugin.browser)(folder, manifest.model) if plugin.browser else None
        except (bundle.BundleError, PluginError) as error:
            raise ModelInvalid(f"the model cannot be opened: {error}") from None
        return OnTrial(folder, plugin.label_form == "regions", browser)

    def answer(self, digest: str, data: bytes) -> Outcome:
        """The model's answer to a picture.

        Raises `UnsupportedImage`, `ModelInvalid`, `TooManyRequests` when others wait already or take too
        long, and what the object store raises.
        """
        with self._in_turn():
            predictor = self._predictor(digest)
            picture = checked(data, self._runtime.settings, predictor.wanted_side)
            (outcome,) = predicting.predict([Source(0, "")], lambda _: picture, predictor, readers=1)
        if outcome.prediction is None:
            raise ModelInvalid(f"the model has no answer for this picture: {outcome.reason}")
        return outcome

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Alone with the models, after a wait in one of the few places for it. Raises `TooManyRequests`."""
        busy = TooManyRequests("the server is busy with other pictures; try again in a moment", _BUSY)
        if not self._places.acquire(blocking=False):
            raise busy
        try:
            if not self._turn.acquire(timeout=_PATIENCE):
                raise busy
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._places.release()

    def _predictor(self, digest: str) -> Predictor:
        if digest not in self._open:
            self.folder(digest)
            threads = self._runtime.settings.cpu_threads
            self._open[digest] = open_bundle(self._cache(), digest, threads=threads)
        self._open.move_to_end(digest)
        while len(self._open) > _OPEN:
            self._open.popitem(last=False)
        return self._open[digest].predictor

    def _cache(self) -> BundleCache:
        return bundle_cache(self._runtime, self._runtime.settings.data_dir / "trials")


def checked(data: bytes, settings: Settings, wanted_side: int | None = None) -> Decoded:
    """The picture, decoded. Raises `UnsupportedImage` for what is none, is damaged or too large."""
    limits = Limits(MAX_BYTES, min(MAX_PIXELS, settings.max_image_pixels))
    try:
        return decode(data, wanted_side=wanted_side, limits=limits)
    except ImageError as error:
        raise UnsupportedImage(f"this picture cannot be read: {error}") from None


def admit(redis: Redis, trial_id: int, kind: str, most: int) -> None:
    """Count one request of a kind for a link; at most `most` a minute. Raises `TooManyRequests`,
    `QueueUnavailable`.
    """
    minute, past = divmod(int(time.time()), _MINUTE)
    key = f"sightloop:trials:{trial_id}:{kind}:{minute}"
    try:
        pipeline: Any = redis.pipeline()
        count, _ = pipeline.incr(key).expire(key, 2 * _MINUTE).execute()
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__}); try again") from None
    if count > most:
        raise TooManyRequests(
            f"this link is good for {most} of these a minute; wait a moment", _MINUTE - past
        )
