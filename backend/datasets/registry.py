"""Datasets as the API sees them: create, find, list, delete, and the numbers of one dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, cast, exists, func, literal_column, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.datasets import findings
from backend.datasets.operations import ACTIVE
from backend.datasets.tables import LABELLED, OTHER_SIZE, TRAINABLE, Dataset, Finding, Image, Operation
from backend.db import SessionFactory, transaction
from backend.errors import BucketMissing, InUse, InvalidRequest, NameTaken, NotFound, WrongState
from backend.names import check_name
from backend.storage import ObjectStore
from backend.storepaths import parse_path
from backend.workspaces.tables import StorageConnection

MAX_DESCRIPTION = 1000
_MAX_PAGE = 1000
STALE = Image.checked_etag.is_(None) | (Image.checked_etag != Image.etag)
"""The images that the last check has not seen as they are now."""
CONDITIONS = {
    "labelled": LABELLED,
    "unlabelled": ~LABELLED,
    "usable": TRAINABLE,
    "kept_out": ~STALE & (~Image.usable | OTHER_SIZE),
    "unchecked": STALE,
    "skipped": Image.skipped,
    "deleted": literal_column("images.state = 'deleted'"),  # its index is not found by a bound value
}
"""What images may be asked for by, beside label and finding."""


@dataclass(frozen=True)
class DatasetRequest:
    """What a user says of a new dataset; `path` is `s3://BUCKET/PREFIX`."""

    name: str
    type: str
    path: str
    description: str = ""


def create(
    sessions: SessionFactory,
    request: DatasetRequest,
    connection: StorageConnection,
    store: ObjectStore,
    types: Collection[str],
) -> Dataset:
    """A new dataset of the connection's workspace, in one of the `types` that plugins serve; the bucket must
    answer. The store is asked outside of any transaction: a silent one must not hold up other writers.

    Raises `InvalidRequest`, `NameTaken`, `BucketMissing`, `StorageDenied`, `StorageUnreachable`.
    """
    check_name(request.name, "dataset")
    if request.type not in types:
        raise InvalidRequest(
            f"{request.type!r} is no type of dataset here; there are: {', '.join(sorted(types))}"
        )
    if len(request.description) > MAX_DESCRIPTION:
        raise InvalidRequest(f"a description has at most {MAX_DESCRIPTION} characters")
    bucket, prefix = parse_path(request.path)
    with sessions() as session:
        _require_free(session, connection.workspace_id, request.name)
    _check_place(store, bucket, prefix)
    dataset = Dataset(
        workspace_id=connection.workspace_id,
        connection_id=connection.id,
        name=request.name,
        type=request.type,
        description=request.description,
        bucket=bucket,
        prefix=prefix,
    )
    with transaction(sessions) as session:
        _require_free(session, connection.workspace_id, request.name)
        session.add(dataset)
    return dataset


def _require_free(session: Session, workspace_id: int, name: str) -> None:
    if _find(session, workspace_id, name) is not None:
        raise NameTaken(f"there is a dataset named {name!r} already; choose another name")


def _check_place(store: ObjectStore, bucket: str, prefix: str) -> None:
    if not store.bucket_exists(bucket):
        raise BucketMissing(
            f"there is no bucket {bucket!r} at {store.address.endpoint}; mend the path, or make it with "
            f"`sightloop upload DIR s3://{bucket}/{prefix}`"
        )
    for _ in store.list(bucket, prefix):  # may this access key list it?
        break


def get(session: Session, workspace_id: int, name: str) -> Dataset:
    """The dataset of that name. Raises `NotFound`."""
    dataset = _find(session, workspace_id, name)
    if dataset is None:
        raise NotFound(f"there is no dataset {name!r}; `sightloop datasets list` shows all")
    return dataset


def _find(session: Session, workspace_id: int, name: str) -> Dataset | None:
    return session.scalar(select(Dataset).where(Dataset.workspace_id == workspace_id, Dataset.name == name))


def list_(
    session: Session, workspace_id: int, *, limit: int = 100, after: str | None = None
) -> Sequence[Dataset]:
    """Datasets by name; `after` is the name that the last page ended with."""
    query = select(Dataset).where(Dataset.workspace_id == workspace_id)
    if after is not None:
        query = query.where(Dataset.name > after)
    return session.scalars(query.order_by(Dataset.name).limit(_page(limit))).all()


def delete(session: Session, dataset: Dataset) -> None:
    """Forget a dataset and its index; the images stay in the bucket.

    Raises `WrongState` while a sync or check runs, `InUse` while training tasks or models refer to it.
    """
    running = session.scalar(
        select(Operation.kind).where(Operation.dataset_id == dataset.id, Operation.state.in_(ACTIVE)).limit(1)
    )
    if running is not None:
        raise WrongState(f"a {running} of dataset {dataset.name!r} is under way; wait for it, then delete")
    name = dataset.name
    try:
        with session.begin_nested():
            session.delete(dataset)
    except IntegrityError:
        raise InUse(f"training tasks or models of dataset {name!r} refer to it; delete them first") from None


def images(
    session: Session,
    dataset: Dataset,
    *,
    limit: int = 100,
    after: str | None = None,
    label: str | None = None,
    finding: str | None = None,
    condition: str | None = None,
) -> Sequence[Image]:
    """Images by key; `after` is the key that the last page ended with. `finding` chooses those with a finding
    of that code, `condition` those of which that one of `CONDITIONS` is true; all but `deleted` speak of
    present images, and so does none.
    """
    query = select(Image).where(Image.dataset_id == dataset.id)
    if condition != "deleted":
        query = query.where(Image.state == "present")
    if after is not None:
        query = query.where(Image.key > after)
    if label is not None:
        query = query.where(Image.label == label)
    if finding is not None:
        named = select(Finding.key).where(Finding.dataset_id == dataset.id, Finding.code == finding)
        query = query.where(Image.key.in_(named))
    if condition is not None:
        query = query.where(CONDITIONS[condition])
    return session.scalars(query.order_by(Image.key).limit(_page(limit))).all()


def images_of(session: Session, dataset_id: int, keys: Iterable[str]) -> dict[str, Image]:
    """The images of these keys, those that have left the bucket too; at most some hundred of them."""
    query = select(Image).where(Image.dataset_id == dataset_id, Image.key.in_(set(keys)))
    return {image.key: image for image in session.scalars(query)}


def findings_of(session: Session, dataset: Dataset, images: Iterable[Image]) -> dict[str, list[Finding]]:
    """The findings about each of these images, by its key."""
    found: dict[str, list[Finding]] = {}
    keys = [image.key for image in images]
    query = select(Finding).where(Finding.dataset_id == dataset.id, Finding.key.in_(keys))
    for finding in session.scalars(query.order_by(Finding.id)):
        found.setdefault(finding.key, []).append(finding)
    return found


def findings_without_image(
    session: Session, dataset: Dataset, code: str, *, limit: int = 100
) -> Sequence[Finding]:
    """Findings of a code that are about the dataset, or about an object that is no present image."""
    known = exists().where(Image.dataset_id == dataset.id, Image.key == Finding.key, Image.state == "present")
    query = select(Finding).where(Finding.dataset_id == dataset.id, Finding.code == code, ~known)
    return session.scalars(query.order_by(Finding.id).limit(_page(limit))).all()


def image_counts(session: Session, datasets: Sequence[Dataset]) -> dict[int, int]:
    """The number of present images by the id of each dataset that has any."""
    rows = session.execute(
        select(Image.dataset_id, func.count())
        .where(Image.dataset_id.in_([dataset.id for dataset in datasets]), Image.state == "present")
        .group_by(Image.dataset_id)
    ).all()
    return {row[0]: row[1] for row in rows}


def state(session: Session, dataset: Dataset) -> str:
    """`new` (never synced), `syncing`, `checking` or `ready`."""
    return states(session, [dataset])[dataset.id]


def states(session: Session, datasets: Sequence[Dataset]) -> dict[int, str]:
    """The same of several, by the id of each."""
    ids = [dataset.id for dataset in datasets]
    query = select(Operation.dataset_id, Operation.kind).where(
        Operation.dataset_id.in_(ids), Operation.state.in_(ACTIVE), Operation.kind.in_(("sync", "check"))
    )
    found = {dataset.id: "ready" if dataset.synced_at else "new" for dataset in datasets}
    for dataset_id, kind in session.execute(query.order_by(Operation.kind)):  # a sync goes before a check
        found[dataset_id] = "syncing" if kind == "sync" else "checking"
    return found


def image(session: Session, dataset: Dataset, image_id: int) -> Image:
    """One image of this dataset. Raises `NotFound`."""
    row = session.get(Image, image_id)
    if row is None or row.dataset_id != dataset.id:
        raise NotFound(f"dataset {dataset.name!r} has no image {image_id}")
    return row


def list_findings(
    session: Session,
    dataset: Dataset,
    *,
    limit: int = 100,
    after: int = 0,
    code: str | None = None,
    severity: str | None = None,
) -> Sequence[Finding]:
    """Findings by id; `after` is the id that the last page ended with."""
    query = select(Finding).where(Finding.dataset_id == dataset.id, Finding.id > after)
    if code is not None:
        query = query.where(Finding.code == code)
    if severity is not None:
        query = query.where(Finding.severity == severity)
    return session.scalars(query.order_by(Finding.id).limit(_page(limit))).all()


def summary(session: Session, dataset: Dataset) -> dict[str, Any]:
    """The numbers of a dataset: `images` (present ones), `labelled`, `unlabelled`, `usable` (would train:
    labelled, not skipped, without an error), `unchecked`, `deleted` (tombstones), `classes` (label, images,
    usable), `findings` (see `findings.counts`), `synced_at`, `checked_at`.
    """
    own = Image.dataset_id == dataset.id
    rows = session.execute(
        select(Image.state, Image.label, func.count(), func.sum(cast(Image.usable, Integer)))
        .where(own)
        .group_by(Image.state, Image.label)
    ).all()
    texts = session.execute(
        select(Image.usable, func.count())
        .where(own, Image.state == "present", Image.label.is_(None), Image.regions.is_not(None))
        .group_by(Image.usable)
    ).all()
    unchecked = select(func.count()).where(own, Image.state == "present", STALE)
    kept_out = _usable_but_kept_out(session, dataset)
    named = sorted(
        (row[1], row[2], row[3] - kept_out[row[1]])
        for row in rows
        if row[0] == "present" and row[1] is not None
    )
    total = sum(row[2] for row in rows if row[0] == "present")
    labelled = sum(row[1] for row in named) + sum(row[1] for row in texts)
    return {
        "images": total,
        "labelled": labelled,
        "unlabelled": total - labelled,
        "usable": sum(row[2] for row in named) + sum(row[1] for row in texts if row[0]) - kept_out[None],
        "unchecked": session.scalar(unchecked) or 0,
        "deleted": sum(row[2] for row in rows if row[0] == "deleted"),
        "classes": [{"label": label, "images": number, "usable": usable} for label, number, usable in named],
        "findings": findings.counts(session, dataset),
        "synced_at": dataset.synced_at,
        "checked_at": dataset.checked_at,
    }


def _usable_but_kept_out(session: Session, dataset: Dataset) -> Counter[str | None]:
    """How many labelled images with sound bytes stay out of training, by class (None: text). They are few,
    and each kind has an index of its own, which is passed by where the query names a state.
    """
    columns = (Image.id, Image.label, Image.state, Image.usable, LABELLED.label("labelled"))
    rows = {
        row.id: row
        for which in (Image.skipped, OTHER_SIZE)
        for row in session.execute(select(*columns).where(Image.dataset_id == dataset.id, which))
    }
    kept_out = (row for row in rows.values() if row.state == "present" and row.usable and row.labelled)
    return Counter(row.label for row in kept_out)


def _page(limit: int) -> int:
    return max(1, min(limit, _MAX_PAGE))
