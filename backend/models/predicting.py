"""Predictions for stored images: read and decoded by threads ahead of the model, answered in order.

The model gets batches and is hardly ever without pixels. One image that cannot be read or that the model
fails on costs no other one its prediction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from backend.datasets.tables import Image
from backend.errors import AppError, ObjectMissing, TooLarge
from backend.settings import Settings
from backend.storage import ObjectStore
from plugins.contract import PluginError, Prediction, Predictor
from plugins.images import Decoded, ImageError, Limits, decode

logger = structlog.get_logger()

BATCH = 16
_READERS = 8
_AHEAD = 2 * BATCH + _READERS  # images
_BATCH_PIXELS = 24_000_000
_AHEAD_PIXELS = 96_000_000  # decoded and waiting: about 300 MB
_USUAL_PIXELS = 12_000_000  # of an image that `check` has not measured yet


@dataclass(frozen=True)
class Source:
    """An image to predict: its row's id, where it lies in its bucket, and its pixels (0: not known)."""

    id: int
    key: str
    pixels: int = 0

    @classmethod
    def of(cls, image: Image) -> Source:
        """The row's image."""
        return cls(image.id, image.key, (image.width or 0) * (image.height or 0))


@dataclass(frozen=True)
class Outcome:
    """What came of one image: the prediction, and the image's upright size in pixels; or why there is none.

    `fault` is the store's error where the image could not be asked for: another try may go better. Without
    it the reason lies in the image or the model, and the next try would end the same way.
    """

    source: Source
    prediction: Prediction | None = None
    width: int = 0
    height: int = 0
    reason: str = ""
    fault: AppError | None = None


Read = Callable[[Source], Decoded | Outcome]


def reader(store: ObjectStore, bucket: str, settings: Settings, wanted_side: int | None) -> Read:
    """Reads and decodes one image; answers an `Outcome` with the reason where that is not possible."""
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)

    def read(source: Source) -> Decoded | Outcome:
        try:
            data = store.read(bucket, source.key, limits.max_bytes)
            return decode(data, wanted_side=wanted_side, limits=limits)
        except (ObjectMissing, TooLarge, ImageError) as error:
            return Outcome(source, reason=str(error))
        except AppError as error:
            return Outcome(source, reason=str(error), fault=error)

    return read


def predict(
    sources: Iterable[Source],
    read: Read,
    predictor: Predictor,
    *,
    batch: int = BATCH,
    readers: int = _READERS,
) -> Generator[Outcome, None, None]:
    """One outcome an image, in order, as they come; `sources` is walked only a little ahead.

    Close it to end early: images that nobody has begun to read are dropped.
    """
    pool = ThreadPoolExecutor(readers, thread_name_prefix="read")
    try:
        for some in _batches(_ahead(sources, read, predictor.wanted_side, pool), batch):
            yield from _answer(some, predictor)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    sources: Iterable[Source], read: Read, wanted_side: int | None, pool: ThreadPoolExecutor
) -> Iterator[tuple[Source, Decoded | Outcome]]:
    """What `read` answers, in order, begun ahead as far as memory allows."""
    waiting: deque[tuple[Source, int, Future[Decoded | Outcome]]] = deque()
    pixels = 0
    for source in sources:
        cost = _cost(source, wanted_side)
        # Only a full window gives one away: while the model works, the threads have its next batches to read.
        while waiting and (len(waiting) >= _AHEAD or pixels + cost > _AHEAD_PIXELS):
            first, spent, future = waiting.popleft()
            yield first, future.result()
            pixels -= spent
        waiting.append((source, cost, pool.submit(read, source)))
        pixels += cost
    for first, _, future in waiting:
        yield first, future.result()


def _cost(source: Source, wanted_side: int | None) -> int:
    """Pixels that the decoded image will have, about: JPEGs are decoded reduced (`plugins.images.decode`)."""
    pixels = source.pixels or _USUAL_PIXELS
    if wanted_side is not None and source.key.lower().endswith((".jpg", ".jpeg")):
        return min(pixels, 6 * wanted_side**2)  # up to twice the wanted side, at 3:2
    return pixels


def _batches(
    decoded: Iterable[tuple[Source, Decoded | Outcome]], most: int
) -> Iterator[list[tuple[Source, Decoded | Outcome]]]:
    batch: list[tuple[Source, Decoded | Outcome]] = []
    pixels = 0
    for source, found in decoded:
        size = 0 if isinstance(found, Outcome) else found.image.width * found.image.height
        if batch and (len(batch) >= most or pixels + size > _BATCH_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append((source, found))
        pixels += size
    if batch:
        yield batch


def _answer(batch: Sequence[tuple[Source, Decoded | Outcome]], predictor: Predictor) -> Iterator[Outcome]:
    pictures = [(source, found) for source, found in batch if isinstance(found, Decoded)]
    answers = iter(_predict(pictures, predictor))
    for _, found in batch:
        yield found if isinstance(found, Outcome) else next(answers)


def _predict(pictures: Sequence[tuple[Source, Decoded]], predictor: Predictor) -> list[Outcome]:
    """All at once; if that fails each alone, so that one bad image fails no other."""
    if not pictures:
        return []
    try:
        predictions = predictor.predict([picture for _, picture in pictures])
        if len(predictions) != len(pictures):
            raise ValueError(f"{len(predictions)} predictions for {len(pictures)} images")
        return [
            Outcome(source, prediction, picture.width, picture.height)
            for (source, picture), prediction in zip(pictures, predictions, strict=True)
        ]
    except Exception as error:  # of the model's making, or of a third party's plugin: anything
        if len(pictures) == 1:
            return [Outcome(pictures[0][0], reason=_why(error))]
    return [outcome for picture in pictures for outcome in _predict([picture], predictor)]


def _why(error: Exception) -> str:
    if isinstance(error, PluginError):
        return f"the model failed on this image: {error}"
    logger.error("the predictor raised what was not foreseen", exc_info=error)
    return "the model failed on this image; the log says why"
