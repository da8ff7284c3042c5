"""Which model a training goes on from, and on which images it is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from backend.datasets import snapshot
from backend.datasets.snapshot import Snapshot
from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.errors import AppError, ModelInvalid, NotEnoughData
from backend.models.registry import bundle_key
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore
from backend.training import records
from backend.training import registry as tasks
from backend.training.devices import Placement
from backend.training.lifecycle import TaskState, advance
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask
from plugins import bundle, registry
from tests.datasets.conftest import BUCKET, Draw, Place
from tests.workers.bundles import bare
from workers import previous
from workers.context import Record
from workers.prepare import _snapshot
from workers.previous import Choice
from workers.train import Attempt

ALGORITHM = "classification-high-performance"


class Trainer:
    """Tasks and models of one dataset, without any training."""

    def __init__(self, sessions: SessionFactory, place: Place, folder: Path) -> None:
        self.sessions, self.place, self.folder = sessions, place, folder
        self.runtime = Runtime(Settings(data_dir=folder, s3_bucket=BUCKET))
        self.runtime.__dict__.update(sessions=sessions, artifacts=place.store)

    def task(self, name: str, start_from: str = "current") -> TrainingTask:
        """A queued task."""
        request = TaskRequest(name, ALGORITHM, start_from=start_from)
        with transaction(self.sessions) as session:
            dataset = session.get_one(Dataset, self.place.dataset.id)
            return tasks.create(session, dataset, request, Placement("train"))

    def attempt(self, task: TrainingTask) -> Attempt:
        """Take the task, after a lost worker once more."""
        plugin, algorithm = registry.algorithm(ALGORITHM)
        with transaction(self.sessions) as session:
            if task.attempt:
                advance(session, task.id, TaskState.PREPARING, TaskState.QUEUED)
            assert advance(session, task.id, TaskState.QUEUED, TaskState.PREPARING)
        with self.sessions() as session:
            task = session.get_one(TrainingTask, task.id)
            session.refresh(task, ["dataset"])
        record = Record(self.sessions, task.id, task.attempt)
        record.start_step("prepare")
        folder = self.folder / f"{task.name}-{task.attempt}"
        folder.mkdir()
        return Attempt(self.runtime, task, plugin, algorithm, record, folder)

    def choose(self, attempt: Attempt) -> Choice:
        """What the prepare step does before it fetches images."""
        return _snapshot(attempt, self.place.store)

    def model(self, name: str, frozen: Snapshot, lineage: Sequence[str] = ()) -> Model:
        """A model whose training had this snapshot."""
        task = self.task(name, "scratch")
        folder = self.folder / f"bundle-{name}"
        folder.mkdir()
        (folder / "weights.safetensors").write_bytes(name.encode())
        manifest = bare(
            name,
            ALGORITHM,
            model={"labels": task.labels},
            facts={"lineage": list(lineage)},
            snapshot=frozen.hash,
        )
        written = bundle.write(folder, manifest)
        archive = bundle.pack(written, self.folder / f"{name}.zip")
        self.place.store.put_file(BUCKET, bundle_key(written.manifest.digest), archive)
        row = Model(
            workspace_id=task.workspace_id,
            task_id=task.id,
            dataset_id=task.dataset_id,
            name=name,
            plugin="classification",
            algorithm=ALGORITHM,
            digest=written.manifest.digest,
            size=1,
            labels=task.labels,
            metrics={},
            facts=dict(manifest.facts),
            snapshot=frozen.hash,
        )
        with transaction(self.sessions) as session:
            session.add(row)
        return row

    def forget(self, model: Model) -> None:
        """Lose the bundle."""
        self.place.store.delete(BUCKET, [bundle_key(model.digest)])


Label = Callable[[range], None]


@pytest.fixture
def label(place: Place, draw: Draw) -> Label:
    """Adds images of these numbers to the dataset, half of them bolts."""

    def label(numbers: range) -> None:
        for number in numbers:
            place.put(f"{('bolt', 'nut')[number % 2]}/{number}.jpg", draw(number))
        place.sync()
        place.check()

    return label


@pytest.fixture
def trainer(sessions: SessionFactory, place: Place, tmp_path: Path, label: Label) -> Trainer:
    """With 40 labelled images."""
    label(range(40))
    return Trainer(sessions, place, tmp_path)


@pytest.fixture
def first(trainer: Trainer) -> Model:
    """The dataset's first model."""
    return trainer.model("first", trainer.choose(trainer.attempt(trainer.task("task0"))).frozen)


def _trained(frozen: Snapshot) -> set[str]:
    return {one.content_hash for one in frozen.examples if one.split == "train"}


def _lines(attempt: Attempt, trainer: Trainer) -> str:
    attempt.record.flush()
    with trainer.sessions() as session:
        rows = records.logs(session, attempt.task.id, step="prepare", after=0, limit=100)
        return "\n".join(row.message for row in rows)


def test_new_labels_go_on_from_the_current_model_and_no_image_it_knows_judges_it(
    trainer: Trainer, first: Model, label: Label, store: ObjectStore
) -> None:
    label(range(40, 60))
    attempt = trainer.attempt(trainer.task("second"))
    choice = trainer.choose(attempt)
    known = _trained(snapshot.load(store, BUCKET, first.snapshot))
    assert choice.previous is not None
    assert (choice.previous.name, choice.previous.required) == ("first", False)
    assert set(choice.previous.trained) == known <= _trained(choice.frozen)
    assert (choice.previous.folder / "weights.safetensors").read_bytes() == b"first"
    assert sum(one.split == "validation" for one in choice.frozen.examples) == 6
    with trainer.sessions() as session:
        task = session.get_one(TrainingTask, attempt.task.id)
        assert (task.parent, task.parent_digest, task.snapshot) == (
            "first",
            first.digest,
            choice.frozen.hash,
        )


def test_what_older_models_have_learned_from_counts(trainer: Trainer, label: Label) -> None:
    grandparent = trainer.choose(trainer.attempt(trainer.task("task0"))).frozen
    with trainer.sessions() as session:
        known = [one.content_hash for one in grandparent.examples if one.split == "validation"]
        parent = snapshot.freeze(session, trainer.place.dataset, (), trained=frozenset(known))
    snapshot.save(trainer.place.store, BUCKET, parent)
    trainer.model("heir", parent, [grandparent.hash])
    attempt = trainer.attempt(trainer.task("third"))
    assert trainer.choose(attempt).previous is None
    assert "no image of bolt, nut is left to validate with" in _lines(attempt, trainer)
    with pytest.raises(NotEnoughData, match="label more new ones"):
        trainer.choose(trainer.attempt(trainer.task("fourth", "heir")))
    label(range(40, 80))
    choice = trainer.choose(trainer.attempt(trainer.task("fifth")))
    assert choice.previous is not None
    assert choice.previous.lineage == (grandparent.hash, parent.hash)
    assert len(choice.previous.trained) == 40


def test_a_dataset_that_has_not_changed_is_trained_as_before(trainer: Trainer, first: Model) -> None:
    attempt = trainer.attempt(trainer.task("second"))
    choice = trainer.choose(attempt)
    assert choice.previous is None
    assert choice.frozen.hash == first.snapshot
    assert "Nothing has changed since model first" in _lines(attempt, trainer)
    named = trainer.choose(trainer.attempt(trainer.task("third", "first")))
    assert named.previous is not None and named.previous.required
    assert named.frozen.hash == first.snapshot


def test_scratch_is_scratch(trainer: Trainer, first: Model, label: Label) -> None:
    label(range(40, 60))
    assert trainer.choose(trainer.attempt(trainer.task("second", "scratch"))).previous is None


@pytest.mark.parametrize("change", [{"algorithm": "classification-high-precision"}, {"worse_than": "other"}])
def test_only_the_current_model_of_the_algorithm_is_gone_on_from(
    trainer: Trainer, first: Model, label: Label, change: dict[str, str]
) -> None:
    with transaction(trainer.sessions) as session:
        session.execute(update(Model).where(Model.id == first.id).values(change))
    label(range(40, 60))
    assert trainer.choose(trainer.attempt(trainer.task("second"))).previous is None


def test_the_next_attempt_takes_the_same_start(trainer: Trainer, first: Model, label: Label) -> None:
    label(range(40, 60))
    task = trainer.task("second")
    attempt = trainer.attempt(task)
    choice = trainer.choose(attempt)
    trainer.model("newer", choice.frozen)
    again = trainer.choose(trainer.attempt(attempt.task))
    assert again.previous is not None and choice.previous is not None
    assert again.frozen == choice.frozen
    assert (again.previous.name, again.previous.trained) == ("first", choice.previous.trained)


def test_a_start_that_got_lost_is_one_sentence(trainer: Trainer, first: Model, label: Label) -> None:
    label(range(40, 60))
    begun = trainer.attempt(trainer.task("begun"))
    trainer.choose(begun)
    trainer.forget(first)
    refusal = "bundle of model 'first' cannot be used .*--start-from scratch"
    with pytest.raises(ModelInvalid, match=refusal):
        trainer.choose(trainer.attempt(begun.task))
    with pytest.raises(ModelInvalid, match=refusal):
        trainer.choose(trainer.attempt(trainer.task("named", "first")))
    attempt = trainer.attempt(trainer.task("usual"))
    assert trainer.choose(attempt).previous is None
    assert "Starting from scratch: the bundle of model 'first'" in _lines(attempt, trainer)


def test_a_model_whose_training_images_are_not_known_is_not_used(
    trainer: Trainer, first: Model, label: Label, store: ObjectStore
) -> None:
    label(range(40, 60))
    store.delete(BUCKET, [snapshot.key_of(first.snapshot)])
    attempt = trainer.attempt(trainer.task("second"))
    assert trainer.choose(attempt).previous is None
    assert "not known what model 'first' has learned from" in _lines(attempt, trainer)


def test_a_damaged_bundle_is_refused(trainer: Trainer, first: Model, store: ObjectStore) -> None:
    store.put_bytes(BUCKET, bundle_key(first.digest), b"no zip")
    attempt = trainer.attempt(trainer.task("second"))
    with pytest.raises(AppError, match="not a readable zip"):
        previous.open_bundle(attempt, "first", first.digest)
    assert list(attempt.folder.iterdir()) == []
