"""Answers to `/predict`: one for each item, in order, within a time that Label Studio waits for.

What an item's answer is kept as in Label Studio decides its form. Label Studio stores a prediction, also an
empty one, and asks no second time for an item that has one of this version. So
* an item that no later try would help (its image is gone, is damaged, or the model fails on it) gets an empty
  prediction that says why;
* an item whose prediction may work later (the model is still loading, the store does not answer, there is no
  model yet) gets an empty list of predictions, of which Label Studio stores nothing;
* the place of the answer in an interactive call is always an object, as the page expects it.
`reasons` beside `results` says for each item why it has none; it is null where there is one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from backend.datasets.tables import Dataset, Image
from backend.errors import AppError
from backend.label_studio.bodies import Body, NoBody, body
from backend.models import predicting, registry, versions
from backend.models.opening import OpenedModel
from backend.models.predicting import Outcome, Source
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.tables import StorageConnection
from ml_backend.interactive import read_regions
from ml_backend.items import Item, images_of
from ml_backend.loading import Models, NotLoaded

logger = structlog.get_logger()
GONE = "the image is not in the dataset's bucket any more"
NOT_OURS = "this item is not one that Sightloop made for this dataset"


@dataclass(frozen=True)
class Bounds:
    """What one call may take. Label Studio waits 100 s for a prediction, and the person behind it less."""

    items: int = 1000
    seconds: float = 60.0
    model_seconds: float = 20.0  # of waiting for the model, in them
    interactive_seconds: float = 10.0
    at_once: int = 2  # calls that predict; others wait their turn
    waiting: int = 6  # calls that wait; more are answered at once


class Busy(Exception):
    """Others are being answered; the message says so."""


@dataclass(frozen=True)
class Answer:
    """One place of the answer: predictions to keep (none, one), and why there is none."""

    bodies: tuple[Body, ...] = ()
    reason: str | None = None


class Turns:
    """Lets a few calls at once through, a few more wait, and turns away the rest."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._turn = threading.Semaphore(at_once)
        self._place = threading.Semaphore(at_once + waiting)

    @contextmanager
    def take(self, seconds: float) -> Iterator[None]:
        """Wait for a turn at most that long. Raises `Busy`."""
        if not self._place.acquire(blocking=False):
            raise Busy("too many predictions are asked for at once; ask again in a moment")
        try:
            if not self._turn.acquire(timeout=max(seconds, 0.0)):
                raise Busy("other predictions take long; ask again in a moment")
            try:
                yield
            finally:
                self._turn.release()
        finally:
            self._place.release()


class Predictions:
    """Answers the calls of all datasets. Thread-safe."""

    def __init__(self, runtime: Runtime, models: Models, bounds: Bounds) -> None:
        self._runtime, self._models, self._bounds = runtime, models, bounds
        self._turns = Turns(bounds.at_once, bounds.waiting)
        # Somebody who has drawn a box waits for its text: not behind a thousand images.
        self._quick = Turns(bounds.at_once, bounds.waiting)
        self._stores: dict[StoreAddress, ObjectStore] = {}

    def answer(
        self, dataset: Dataset, items: Sequence[Item], config: str, drawn: Sequence[Any] | None
    ) -> dict[str, Any]:
        """The body of the answer. `config` is the project's labeling configuration, `drawn` the regions of an
        interactive call, None otherwise.
        """
        with self._runtime.sessions() as session:
            model = registry.current(session, dataset.id)
            images = images_of(session, dataset, items[: self._bounds.items])
        version = versions.NONE if model is None else versions.version_of(model)
        deadline = time.monotonic() + (
            self._bounds.seconds if drawn is None else self._bounds.interactive_seconds
        )
        store = self._store(dataset.connection)
        call = _Call(self._runtime.settings, store, dataset, images, version, config, drawn, deadline)
        try:
            answers = self._answers(call, model)
        except (NotLoaded, Busy) as error:
            answers = [Answer(reason=str(error))] * len(images)
        late = (
            f"more than {self._bounds.items:,} items at once; `sightloop datasets prelabel` takes any number"
        )
        answers += [Answer(reason=late)] * (len(items) - len(answers))
        return _shown(answers, version, interactive=drawn is not None)

    def _store(self, connection: StorageConnection) -> ObjectStore:
        """One store a connection, which keeps its connections open, with less patience than a job has."""
        address = self._runtime.store(connection).address
        store = ObjectStore(address, connect_timeout=2.0, read_timeout=8.0)
        return self._stores.setdefault(address, store)

    def _answers(self, call: _Call, model: Model | None) -> list[Answer]:
        if model is None:
            raise NotLoaded(f"dataset {call.dataset.name!r} has no model yet; train one")
        left = call.deadline - time.monotonic()
        opened = self._models.get(model.digest, min(self._bounds.model_seconds, left))
        turns = self._turns if call.drawn is None else self._quick
        with turns.take(call.deadline - time.monotonic()):
            return call.read(opened) if call.drawn is not None else call.predict(opened)


@dataclass(frozen=True)
class _Call:
    """One call with what answers it."""

    settings: Settings
    store: ObjectStore
    dataset: Dataset
    images: Sequence[Image | None]
    version: str
    config: str
    drawn: Sequence[Any] | None
    deadline: float

    def predict(self, opened: OpenedModel) -> list[Answer]:
        """One answer an item; those that the time does not suffice for may be asked for again."""
        places = [at for at, image in enumerate(self.images) if image is not None and _is_there(image)]
        answers = [self._empty(GONE if image is not None else NOT_OURS) for image in self.images]
        _fill(answers, places, "there was no time for this one; ask again, or pre-label the dataset")
        sources = [Source.of(image) for at in places if (image := self.images[at]) is not None]
        outcomes = predicting.predict(sources, self._reader(opened), opened.predictor, batch=8)
        with closing(outcomes):
            for at, outcome in zip(places, outcomes, strict=False):
                if outcome.fault is not None:  # it would be the same for the others, each after a while
                    _fill(answers, places[places.index(at) :], outcome.reason)
                    break
                answers[at] = self._answer(opened, outcome)
                if time.monotonic() > self.deadline:
                    break
        return answers

    def read(self, opened: OpenedModel) -> list[Answer]:
        """The text of the regions that somebody has drawn; there is one item."""
        image = self.images[0] if self.images else None
        if image is None or not _is_there(image):
            return [Answer(reason=NOT_OURS if image is None else GONE)] * len(self.images)
        found = self._reader(opened)(Source.of(image))
        if isinstance(found, Outcome):
            return [Answer(reason=found.reason)]
        try:
            read = read_regions(opened, found, self.drawn or (), self.version)
        except NoBody as error:
            return [Answer(reason=str(error))]
        return [Answer((read,))]

    def _reader(self, opened: OpenedModel) -> predicting.Read:
        side = opened.predictor.wanted_side
        return predicting.reader(self.store, self.dataset.bucket, self.settings, side)

    def _answer(self, opened: OpenedModel, outcome: Outcome) -> Answer:
        try:
            made = body(opened, outcome, self.version)
        except NoBody as error:
            return self._empty(str(error))
        complaint = self._complaint(made)
        return self._empty(complaint) if complaint else Answer((made,))

    def _complaint(self, made: Body) -> str:
        if not self.config:
            return ""
        from backend.label_studio.validation import validator  # noqa: PLC0415 - the SDK takes a second

        try:
            return validator(self.config).complaint(made)
        except AppError as error:
            return str(error)

    def _empty(self, reason: str) -> Answer:
        empty = {"result": [], "score": 0.0, "model_version": self.version, "reason": reason}
        return Answer((empty,), reason)


def _fill(answers: list[Answer], places: Sequence[int], reason: str) -> None:
    for at in places:
        answers[at] = Answer(reason=reason)


def _is_there(image: Image) -> bool:
    return image.state == "present"


def _shown(answers: Sequence[Answer], version: str, *, interactive: bool) -> dict[str, Any]:
    """The body of the answer, and a line in the log where something is missing."""
    reasons = [answer.reason for answer in answers]
    if missing := [reason for reason in reasons if reason]:
        logger.warning("predictions_missing", items=len(missing), of=len(answers), first=missing[0])
    results: list[Any] = []
    for answer in answers:
        if answer.bodies:
            results.append(answer.bodies[0])
        elif interactive:
            results.append({"result": [], "score": 0.0, "model_version": version, "reason": answer.reason})
        else:
            results.append([])
    return {"results": results, "reasons": reasons, "model_version": version}
