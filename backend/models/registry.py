"""Models as the API sees them: find, compare, fetch the bundle, delete."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from backend.errors import InUse, ModelInvalid, NotFound
from backend.models import measures
from backend.models.tables import Model
from backend.services.tables import Service
from backend.storage import ObjectStore
from backend.training.lifecycle import FINAL
from backend.training.tables import TrainingTask
from plugins import bundle
from plugins.contract import Metric


@dataclass(frozen=True)
class Comparison:
    """Two models side by side. `metrics` maps each metric that both have to (first, second, difference);
    `favours` says of each whether the second is better (1), worse (-1), or neither (0).
    """

    first: Model
    second: Model
    metrics: dict[str, tuple[float, float, float]]
    favours: dict[str, int]
    same_snapshot: bool
    note: str


def bundle_key(digest: str) -> str:
    """Where the bundle lies in the artifact bucket."""
    return f"models/{digest}.zip"


def get(session: Session, workspace_id: int, name: str) -> Model:
    """The model of that name. Raises `NotFound`."""
    model = session.scalar(select(Model).where(Model.workspace_id == workspace_id, Model.name == name))
    if model is None:
        raise NotFound(f"there is no model {name!r}; `sightloop models list` shows all")
    return model


def page(session: Session, workspace_id: int, *, after: int, limit: int) -> list[Model]:
    """Models, newest first; `after` is the id of the last one seen, 0 for the first page."""
    statement = select(Model).where(Model.workspace_id == workspace_id)
    if after:
        statement = statement.where(Model.id < after)
    return list(session.scalars(statement.order_by(Model.id.desc()).limit(limit)))


def current(session: Session, dataset_id: int) -> Model | None:
    """The dataset's current model: the newest that was not worse than the one before."""
    return session.scalar(
        select(Model)
        .where(Model.dataset_id == dataset_id, Model.worse_than == "")
        .order_by(Model.id.desc())
        .limit(1)
    )


def of_dataset(session: Session, dataset_id: int, *, limit: int) -> list[Model]:
    """The dataset's models, newest first."""
    statement = select(Model).where(Model.dataset_id == dataset_id).order_by(Model.id.desc())
    return list(session.scalars(statement.limit(limit)))


def compare(first: Model, second: Model) -> Comparison:
    """Metric by metric; each difference is the second minus the first."""
    shared = sorted(first.metrics.keys() & second.metrics.keys())
    metrics = {
        name: (first.metrics[name], second.metrics[name], second.metrics[name] - first.metrics[name])
        for name in shared
    }
    same = first.snapshot == second.snapshot
    note = (
        "both were measured on the same images"
        if same
        else "measured on different snapshots: small differences mean little"
    )
    favours = {
        name: _favour(measures.metric(second.plugin, name), difference)
        for name, (_, _, difference) in metrics.items()
    }
    return Comparison(first, second, metrics, favours, same, note)


def _favour(metric: Metric, difference: float) -> int:
    if metric.better == "neither" or not difference:
        return 0
    return 1 if (difference > 0) == (metric.better == "higher") else -1


def delete(session: Session, model: Model) -> None:
    """Forget the row; see `removal` for the bundle. Raises `InUse`."""
    users = session.scalars(select(Service.name).where(Service.model_id == model.id)).all()
    if users:
        raise InUse(
            f"model {model.name!r} is served by {', '.join(users)}; delete or update the service first"
        )
    followers = session.scalars(
        select(TrainingTask.name).where(
            TrainingTask.workspace_id == model.workspace_id,
            TrainingTask.state.not_in([state.value for state in FINAL]),
            or_(TrainingTask.parent == model.name, TrainingTask.start_from == model.name),
        )
    ).all()
    if followers:
        raise InUse(
            f"training task {', '.join(followers)} starts from model {model.name!r}; wait for its end or "
            "stop it first"
        )
    session.delete(model)


@contextmanager
def stored(store: ObjectStore, bucket: str, digest: str) -> Iterator[Path]:
    """The bundle's zip as it is stored, as a local file, for as long as the block runs."""
    with TemporaryDirectory(prefix="sightloop-bundle-") as folder:
        archive = Path(folder) / "bundle.zip"
        store.download(bucket, bundle_key(digest), archive)
        yield archive


@contextmanager
def verified(store: ObjectStore, bucket: str, model: Model) -> Iterator[Path]:
    """The same after checking every byte of it.

    Raises `ModelInvalid` when the stored bundle is not the one that was registered.
    """
    with stored(store, bucket, model.digest) as archive:
        try:
            bundle.unpack(archive, archive.parent / "bundle", digest=model.digest)
        except bundle.BundleError as error:
            raise ModelInvalid(f"the stored bundle of model {model.name!r} is damaged: {error}") from None
        yield archive
