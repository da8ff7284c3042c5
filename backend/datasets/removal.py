"""Deleting datasets with what was made from them. The images in the bucket are never touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets import registry
from backend.datasets.tables import Dataset
from backend.db import transaction
from backend.errors import InUse
from backend.label_studio import registry as labeling
from backend.models import removal as models
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.settings import Settings
from backend.training.lifecycle import FINAL
from backend.training.tables import TrainingTask

_NAMED = 5  # models or tasks that a sentence names


@dataclass(frozen=True)
class Belongings:
    """What hangs on a dataset: the names of its models and of its training tasks, and the address of its
    project in Label Studio, empty where there is none.
    """

    models: Sequence[str]
    tasks: Sequence[str]
    label_studio: str


def belongings(session: Session, settings: Settings, dataset: Dataset) -> Belongings:
    """What hangs on it, newest first."""
    of_models = select(Model.name).where(Model.dataset_id == dataset.id).order_by(Model.id.desc())
    of_tasks = select(TrainingTask.name).where(TrainingTask.dataset_id == dataset.id)
    project = labeling.project_of(session, dataset.id)
    return Belongings(
        session.scalars(of_models).all(),
        session.scalars(of_tasks.order_by(TrainingTask.id.desc())).all(),
        "" if project is None else labeling.url_of(settings, project),
    )


def delete(runtime: Runtime, workspace_id: int, name: str, *, with_models: bool = False) -> Belongings:
    """Forget a dataset: its index, labels, findings, and its training tasks that have ended; with its models
    only when asked for. What went, and the project in Label Studio, which stays there with its annotations.

    Raises `NotFound`, `WrongState` while a sync or the like runs, `InUse` while a training task runs, while
    it has models (without `with_models`), or while one of these is served.
    """
    with transaction(runtime.sessions) as session:
        dataset = registry.get(session, workspace_id, name)
        found = belongings(session, runtime.settings, dataset)
        _require_at_rest(session, dataset)
        if found.models and not with_models:
            raise InUse(
                f"dataset {name!r} has {_some(found.models, 'model')}; delete these first, or delete them "
                f"with it: `sightloop datasets delete {name} --with-models`"
            )
        for model in session.scalars(select(Model).where(Model.dataset_id == dataset.id)).all():
            models.forget(session, model)
        for task in session.scalars(select(TrainingTask).where(TrainingTask.dataset_id == dataset.id)).all():
            session.delete(task)
        session.flush()
        registry.delete(session, dataset)
    models.sweep(runtime)
    return found


def _require_at_rest(session: Session, dataset: Dataset) -> None:
    ended = [state.value for state in FINAL]
    running = session.scalars(
        select(TrainingTask.name).where(
            TrainingTask.dataset_id == dataset.id, TrainingTask.state.not_in(ended)
        )
    ).all()
    if running:
        raise InUse(
            f"dataset {dataset.name!r} is being trained on by {_some(running, 'task')}; wait for the end, or "
            f"stop it with `sightloop tasks stop {running[0]}`"
        )


def _some(names: Sequence[str], noun: str) -> str:
    more = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return f"the {noun}{'s' if len(names) > 1 else ''} {shown}"
