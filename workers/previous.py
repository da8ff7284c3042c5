"""The model that a training goes on from: chosen once for all attempts of a task, fetched and verified.

The sides of the snapshot are drawn such that no image judges a model that was trained on it; where too little
is left to judge by, training starts from the pretrained weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets import snapshot
from backend.errors import ModelInvalid, NotEnoughData, ObjectMissing
from backend.models import registry as models
from backend.models.tables import Model
from backend.training.registry import CURRENT, SCRATCH
from plugins import bundle
from plugins.bundle import Bundle
from plugins.contract import Example, Previous

if TYPE_CHECKING:
    from workers.train import Attempt

_ENOUGH = 0.5  # share of the usual validation images


@dataclass(frozen=True)
class Choice:
    """The snapshot to train on, and the model to start from, if any."""

    frozen: snapshot.Snapshot
    previous: Previous | None = None


def freeze(attempt: Attempt) -> Choice:
    """Choose the model and freeze the snapshot that goes with it.

    By default that is the dataset's current model of this algorithm, unless nothing has changed since: then
    the task repeats its training. What keeps the model from being used stands in the log.

    Raises `ModelInvalid` or `NotEnoughData` when the user named a model that cannot be used, and what
    `backend.datasets.snapshot.freeze` raises.
    """
    plain = _freeze(attempt)
    try:
        with attempt.runtime.sessions() as session:
            model = _model(session, attempt)
        if model is None:
            return Choice(plain)
        return _going_on(attempt, model, plain)
    except (ModelInvalid, NotEnoughData) as error:
        if attempt.task.start_from not in (CURRENT, SCRATCH):
            raise
        attempt.record.log(f"Starting from scratch: {error}")
        return Choice(plain)


def again(attempt: Attempt) -> Previous | None:
    """What `freeze` chose in the first attempt. Raises `ModelInvalid` when it is gone."""
    task = attempt.task
    if not task.parent_digest:
        return None
    opened = open_bundle(attempt, task.parent, task.parent_digest)
    return _previous(attempt, task.parent, opened)


def open_bundle(attempt: Attempt, name: str, digest: str) -> Bundle:
    """The bundle of a model in the attempt's folder, every byte checked.

    Raises `ModelInvalid` when it is gone from the store or damaged.
    """
    target = attempt.folder / f"previous-{digest[:12]}"
    archive = attempt.folder / "previous.zip"
    runtime = attempt.runtime
    try:
        if target.exists():
            return bundle.verify(target, digest=digest)
        runtime.artifacts.download(runtime.settings.s3_bucket, models.bundle_key(digest), archive)
        return bundle.unpack(archive, target, digest=digest)
    except (bundle.BundleError, ObjectMissing) as error:
        raise ModelInvalid(
            f"the bundle of model {name!r} cannot be used ({error}); train with `--start-from scratch`"
        ) from None
    finally:
        archive.unlink(missing_ok=True)


def _model(session: Session, attempt: Attempt) -> Model | None:
    """The model that was asked for."""
    task = attempt.task
    if task.start_from == SCRATCH:
        return None
    if task.start_from == CURRENT:
        model = models.current(session, task.dataset_id)
        return model if model is not None and model.algorithm == attempt.algorithm.name else None
    found = session.scalar(
        select(Model).where(Model.workspace_id == task.workspace_id, Model.name == task.start_from)
    )
    if found is None:  # it cannot be deleted while this task waits
        raise ModelInvalid(f"there is no model {task.start_from!r} to start from")
    return found


def _going_on(attempt: Attempt, model: Model, plain: snapshot.Snapshot) -> Choice:
    opened = open_bundle(attempt, model.name, model.digest)
    previous = _previous(attempt, model.name, opened)
    frozen = _freeze(attempt, previous)
    if attempt.task.start_from == CURRENT and frozen.hash == model.snapshot:
        attempt.record.log(f"Nothing has changed since model {model.name}: starting from scratch again")
        return Choice(plain)
    if reason := _too_little(frozen.examples, plain.examples):
        raise NotEnoughData(
            f"model {model.name!r} has learned from so many images that {reason}; label more new ones"
        )
    attempt.record.log(f"Going on from model {model.name}")
    return Choice(frozen, previous)


def _freeze(attempt: Attempt, previous: Previous | None = None) -> snapshot.Snapshot:
    task = attempt.task
    trained = frozenset(previous.trained) if previous else frozenset[str]()
    with attempt.runtime.sessions() as session:
        return snapshot.freeze(session, task.dataset, task.labels, trained=trained)


def _previous(attempt: Attempt, name: str, opened: Bundle) -> Previous:
    """The opened bundle with the images that its weights have learned from. Raises `ModelInvalid`."""
    manifest, runtime = opened.manifest, attempt.runtime
    trained: dict[str, str | None] = {}
    lineage = (*manifest.facts.get("lineage", ()), manifest.snapshot)
    for digest in lineage:
        try:
            seen = snapshot.load(runtime.artifacts, runtime.settings.s3_bucket, digest)
        except ObjectMissing as error:
            raise ModelInvalid(f"it is not known what model {name!r} has learned from: {error}") from None
        trained |= {one.content_hash: one.label for one in seen.examples if one.split == "train"}
    return Previous(
        name=name,
        digest=manifest.digest,
        folder=opened.folder,
        model=manifest.model,
        base=manifest.base,
        facts=manifest.facts,
        parameters=manifest.parameters,
        trained=trained,
        required=attempt.task.start_from not in (CURRENT, SCRATCH),
        lineage=lineage,
    )


def _too_little(drawn: Sequence[Example], usual: Sequence[Example]) -> str:
    """Why the validation side is too small to judge by; empty when it is not."""
    left, wanted = (
        Counter(one.label for one in examples if one.split == "validation") for examples in (drawn, usual)
    )
    if bare := sorted(str(label) for label in wanted.keys() - left.keys()):
        return f"no image of {', '.join(bare)} is left to validate with"
    if left.total() < _ENOUGH * wanted.total():
        return f"only {left.total()} of {wanted.total()} images are left to validate with"
    return ""
