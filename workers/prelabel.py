"""Pre-labeling in bulk: predictions of the current model for all items of Label Studio without a label.

    open items (Label Studio) -> images (bucket) -> predictor -> validated -> imported in batches -> shown

Label Studio says which items lack a prediction of this model, so that a second run, or one after a crash,
does what the first has left. Only at the end are the predictions of older models removed: until then people
see those. Annotations are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Operation
from backend.db import transaction
from backend.errors import LabelStudioRefused, WrongState
from backend.label_studio import ml_project
from backend.label_studio.bodies import Body, NoBody, body
from backend.label_studio.client import LabelStudio, RemoteProject, connect
from backend.label_studio.following import open_items
from backend.label_studio.predictions import Predictions
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.label_studio.validation import Validator, validator
from backend.models import predicting
from backend.models import registry as models
from backend.models.opening import OpenedModel, opened
from backend.models.predicting import Outcome, Source
from backend.models.tables import Model
from backend.models.versions import is_ours, version_of
from backend.runtime import Runtime

logger = structlog.get_logger()
_BATCH_ITEMS = 1000  # Label Studio counts all of a project's items anew with every import
_BATCH_BYTES = 8 * 1024**2
_MOST_TOLD = 50  # items of a result that are named with their reason
_ROWS = 500
_BEAT = 2.0  # seconds


@dataclass(frozen=True)
class Wanted:
    """An item and its image."""

    item: int
    source: Source


@dataclass(frozen=True)
class Place:
    """Where predictions go: a dataset's project, and the id of its row here."""

    dataset: Dataset
    row_id: int
    studio: LabelStudio
    project: RemoteProject


@dataclass
class Tally:
    """What came of the items so far; the result of the operation."""

    model: str
    items: int = 0
    predicted: int = 0
    not_predicted: int = 0
    refused: int = 0
    superseded: int = 0
    stopped: bool = False
    shown: bool = False
    reasons: list[dict[str, str]] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Items that are through."""
        return self.predicted + self.not_predicted + self.refused

    def tell(self, key: str, reason: str) -> None:
        """Name an item that has no prediction now, unless many were named already."""
        if len(self.reasons) < _MOST_TOLD:
            self.reasons.append({"key": key, "reason": reason})


def run(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """The operation `prelabel`: the counts of `Tally` and the first reasons as JSON.

    Raises `WrongState` without a model or a project, `ModelInvalid`, the errors of Label Studio and of the
    object store.
    """
    dataset = operation.dataset
    with runtime.sessions() as session:
        model, row = _model(session, dataset), _row(session, dataset)
    studio = connect(runtime.settings)
    try:
        project = _project(studio, row, dataset)
        _connect_ml_backend(runtime, studio, dataset, row)
        with opened(runtime, model.digest, threads=runtime.settings.cpu_threads) as found:
            place = Place(dataset, row.id, studio, project)
            return vars(Job(runtime, place, found, version_of(model), progress).run())
    finally:
        studio.close()


def _model(session: Session, dataset: Dataset) -> Model:
    model = models.current(session, dataset.id)
    if model is None:
        raise WrongState(
            f"dataset {dataset.name!r} has no model that could predict; train one with `sightloop train`"
        )
    return model


def _row(session: Session, dataset: Dataset) -> LabelingProject:
    row = session.scalar(select(LabelingProject).where(LabelingProject.dataset_id == dataset.id))
    if row is None:
        raise WrongState(
            f"dataset {dataset.name!r} has no project in Label Studio; make it with "
            f"`sightloop datasets label {dataset.name}`"
        )
    return row


def _project(studio: LabelStudio, row: LabelingProject, dataset: Dataset) -> RemoteProject:
    project = studio.project(row.project)
    if project is None:
        raise WrongState(
            f"the Label Studio project of dataset {dataset.name!r} was deleted; make it anew with "
            f"`sightloop datasets label {dataset.name}`"
        )
    return project


def _connect_ml_backend(
    runtime: Runtime, studio: LabelStudio, dataset: Dataset, row: LabelingProject
) -> None:
    found = ml_project.connect(studio, runtime.settings, dataset, row.project)
    if found is not None and found != row.ml_backend:
        with transaction(runtime.sessions) as session:
            statement = update(LabelingProject).where(LabelingProject.id == row.id)
            session.execute(statement.values(ml_backend=found))


@dataclass
class Batch:
    """Predictions to import together; `passed` are items between them that got none."""

    sent: list[Wanted] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    passed: list[Wanted] = field(default_factory=list)
    size: int = 0

    @property
    def items(self) -> list[int]:
        """The numbers of the items that are sent."""
        return [one.item for one in self.sent]

    @property
    def is_full(self) -> bool:
        """Whether it is time to import."""
        return len(self.sent) + len(self.passed) >= _BATCH_ITEMS or self.size >= _BATCH_BYTES

    def add(self, one: Wanted, made: Body) -> None:
        """One more prediction."""
        self.sent.append(one)
        self.bodies.append(made)
        self.size += len(json.dumps(made))


class Job:
    """One run over one project. The main thread predicts, others read and decode for it, one imports."""

    def __init__(
        self,
        runtime: Runtime,
        place: Place,
        model: OpenedModel,
        version: str,
        progress: Progress,
    ) -> None:
        self._runtime, self._dataset, self._row_id = runtime, place.dataset, place.row_id
        self._studio_shows = place.project.model_version
        self._predictions = Predictions(place.studio, place.project.id)
        self._validator: Validator = validator(place.project.config)
        self._model, self._version, self._progress = model, version, progress
        self._tally = Tally(version)

    def run(self) -> Tally:
        """All open items, then what is superseded."""
        wanted = self._wanted()
        self._tally.items = len(wanted)
        self._progress(0, len(wanted))
        with ThreadPoolExecutor(1, thread_name_prefix="import") as importer:
            self._predict(wanted, importer)
        if not self._tally.stopped:
            self._settle()
        self._progress(self._tally.done, max(self._tally.items, self._tally.done))
        return self._tally

    def _wanted(self) -> list[Wanted]:
        """The items that lack a prediction of this version and that nobody has labelled, there and here."""
        wanted: list[Wanted] = []
        for numbers in self._predictions.open_items(self._version):
            with self._runtime.sessions() as session:
                rows = session.execute(
                    open_items(self._dataset.id).where(LabelingItem.item.in_(numbers))
                ).all()
            wanted += [Wanted(item.item, Source.of(image)) for item, image in rows]
        return wanted

    def _predict(self, wanted: Sequence[Wanted], importer: ThreadPoolExecutor) -> None:
        settings, predictor = self._runtime.settings, self._model.predictor
        store = self._runtime.store(self._dataset.connection)
        read = predicting.reader(store, self._dataset.bucket, settings, predictor.wanted_side)
        outcomes = predicting.predict((one.source for one in wanted), read, predictor)
        under_way: Future[None] | None = None
        batch = Batch()
        with closing(outcomes):
            for one, outcome in zip(wanted, outcomes, strict=True):
                if outcome.fault is not None:
                    raise outcome.fault
                self._take(batch, one, outcome)
                if batch.is_full:
                    under_way, batch = self._hand_over(importer, batch, under_way), Batch()
                self._progress(self._tally.done, self._tally.items)
                if self._progress.should_stop():
                    self._tally.stopped = True
                    break
        _finished(self._hand_over(importer, batch, under_way), self._beat)

    def _take(self, batch: Batch, one: Wanted, outcome: Outcome) -> None:
        try:
            made = body(self._model, outcome, self._version)
            complaint = self._validator.complaint(made)
        except NoBody as error:
            complaint = str(error)
        if complaint:
            self._tally.not_predicted += 1
            self._tally.tell(one.source.key, complaint)
            batch.passed.append(one)
        else:
            batch.add(one, {"task": one.item, **made})

    def _hand_over(
        self, importer: ThreadPoolExecutor, batch: Batch, before: Future[None] | None
    ) -> Future[None]:
        """Import this batch when the one before is through, whose errors are raised here."""
        if before is not None:
            _finished(before, self._beat)
        return importer.submit(self._import, batch)

    def _beat(self) -> None:
        self._progress(self._tally.done, self._tally.items)

    def _import(self, batch: Batch) -> None:
        """In the importing thread: what it counts, no other one changes."""
        taken = batch.sent
        if batch.bodies:
            try:
                created = self._predictions.add(batch.bodies)
            except LabelStudioRefused as error:
                taken = self._again(batch, str(error))
            else:
                if created != len(batch.bodies):
                    without, gone = self._predictions.lacking(batch.items, self._version)
                    taken = self._compare(batch, without | gone, "Label Studio did not take it")
        self._tally.predicted += len(taken)
        self._note([*taken, *batch.passed])
        if taken and not self._tally.shown and not is_ours(self._studio_shows):
            self._show()  # nothing of ours stood there before: no need to wait for the rest

    def _again(self, batch: Batch, refusal: str) -> list[Wanted]:
        """An item that was deleted meanwhile makes Label Studio refuse all: once more without those."""
        _, gone = self._predictions.lacking(batch.items, self._version)
        if not gone:
            raise LabelStudioRefused(refusal)
        left = [made for made in batch.bodies if made["task"] not in gone]
        if left and self._predictions.add(left) != len(left):
            without, _ = self._predictions.lacking(batch.items, self._version)
            gone |= without
        return self._compare(batch, gone, "the item is not in Label Studio any more, or was not taken")

    def _compare(self, batch: Batch, refused: set[int], reason: str) -> list[Wanted]:
        for one in batch.sent:
            if one.item in refused:
                self._tally.refused += 1
                self._tally.tell(one.source.key, reason)
        return [one for one in batch.sent if one.item not in refused]

    def _note(self, through: Sequence[Wanted]) -> None:
        """These items were asked for with this version; a reconcile need not start another run for them."""
        numbers = [one.item for one in through]
        for start in range(0, len(numbers), _ROWS):
            with transaction(self._runtime.sessions) as session:
                session.execute(
                    update(LabelingItem)
                    .where(
                        LabelingItem.dataset_id == self._dataset.id,
                        LabelingItem.item.in_(numbers[start : start + _ROWS]),
                    )
                    .values(predicted_by=self._version)
                )

    def _settle(self) -> None:
        """Show this version and remove those of ours that it supersedes."""
        self._predictions.remove_twins(self._version)
        versions = self._predictions.versions()
        if self._version in versions and not self._tally.shown:
            self._show()
        for version in versions:
            if is_ours(version) and version != self._version:
                self._tally.superseded += self._predictions.remove(version)

    def _show(self) -> None:
        self._tally.shown = True
        self._predictions.show(self._version, titles=(ml_project.TITLE,))
        with transaction(self._runtime.sessions) as session:
            statement = update(LabelingProject).where(LabelingProject.id == self._row_id)
            session.execute(statement.values(model=self._version))


def _finished(work: Future[None], beat: Callable[[], None]) -> None:
    """Wait until it is done, saying meanwhile that this run is alive; its error is raised here."""
    while True:
        try:
            work.result(timeout=_BEAT)
            return
        except TimeoutError:
            beat()
