"""The index: `sync` brings the rows of a dataset's images to what its bucket prefix holds.

Objects are taken from the listing in batches. A batch, its counts and the place in the listing are committed
together, so that a run that was killed goes on behind its last batch. Memory does not grow with the objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from backend.datasets import findings, operations, renaming
from backend.datasets.listing import Tally, kind_of
from backend.datasets.seen import Seen
from backend.datasets.tables import Dataset, Finding, Image, Operation
from backend.db import SessionFactory, now, transaction
from backend.labels import bucket
from backend.labels.sources import Label, LabelOf, by_key, wins
from backend.storage import ObjectInfo, ObjectStore

BATCH = 1000
_PAGE = 5000
COUNTS = ("listed", "images", "added", "changed", "unchanged", "restored", "relabelled", "deleted")

_images = Image.__table__
_KNOWN = [_images.c[name] for name in ("id", "key", "etag", "size", "state", "label", "label_source")]
_UNCHECKED = {
    "checked_etag": None,
    "usable": False,
    "width": None,
    "height": None,
    "content_hash": None,
    "perceptual_hash": None,
}


@dataclass
class _Run:
    """One sync on its way. `attempt` is the fencing number of its operation."""

    dataset: Dataset
    operation_id: int
    attempt: int
    label_of: LabelOf
    seen: Seen
    tally: Tally


def sync(
    sessions: SessionFactory, store: ObjectStore, dataset: Dataset, operation: Operation
) -> dict[str, int]:
    """Bring the index up to date under a claimed operation; answers the counts.

    `listed` objects are `images` + `folder` markers + `label_files` + what is left out
    (`not_an_image`, `format_not_supported`, `odd_key`), and `images` = added + changed + unchanged +
    restored; `relabelled` ones are also counted in one of these, `deleted` ones are no more in the listing.

    Raises what the store raises, and `AttemptRefused`.
    """
    run = _begin(sessions, dataset, operation)
    listing = store.list(dataset.bucket, dataset.prefix, start_after=operation.cursor)
    for batch in _batches(listing):
        with transaction(sessions) as session:
            _take(session, run, batch)
            operations.progress(
                session,
                run.operation_id,
                run.attempt,
                done=run.tally.counts["listed"],
                cursor=batch[-1].key,
                seen=run.seen.dump(),
                result=run.tally.dump(),
            )
    _delete_unseen(sessions, run)
    return _end(sessions, run)


def _begin(sessions: SessionFactory, dataset: Dataset, operation: Operation) -> _Run:
    if operation.seen is not None:
        seen = Seen.load(operation.seen)
    else:
        with sessions() as session:
            ids = select(func.min(Image.id), func.max(Image.id)).where(Image.dataset_id == dataset.id)
            first, last = session.execute(ids).one()
        seen = Seen(first or 1, last or 0)
    tally = Tally.load(operation.result)
    for name in COUNTS:
        tally.add(name, 0)
    labels = by_key(dataset.type, dataset.prefix)
    return _Run(dataset, operation.id, operation.attempt, labels, seen, tally)


def _batches(listing: Iterator[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """The listing in batches, one read ahead: the store works on the next while the database takes this."""
    with ThreadPoolExecutor(1, "listing") as reader:
        ahead = reader.submit(lambda: list(islice(listing, BATCH)))
        while batch := ahead.result():
            ahead = reader.submit(lambda: list(islice(listing, BATCH)))
            yield batch


def _take(session: Session, run: _Run, batch: Sequence[ObjectInfo]) -> None:
    images: dict[str, ObjectInfo] = {}
    for info in batch:
        run.tally.add("listed")
        kind = kind_of(info)
        if kind == "image":
            images[info.key] = info
        elif kind == "folder":
            run.tally.add("folder")
        elif kind == "not_an_image" and bucket.is_label_file(run.dataset.type, info):
            run.tally.add("label_files")
        else:
            run.tally.leave_out(kind, info.key)
    run.tally.add("images", len(images))
    known = select(*_KNOWN).where(_images.c.dataset_id == run.dataset.id, _images.c.key.in_(list(images)))
    changed: list[dict[str, Any]] = []
    relabelled: list[dict[str, Any]] = []
    for row in session.connection().execute(known):
        info = images.pop(row.key)
        run.seen.add(row.id)
        change = _change(run, row, info)
        if change:
            changed.append({"row": row.id, **change})
        label = run.label_of(row.key)
        if label and row.label != label.name and wins(label.source, row.label_source):
            relabelled.append({"row": row.id, "name": label.name, "source": label.source})
    _insert(session, run, images.values())
    _update(session, run, changed, relabelled)


def _change(run: _Run, row: Any, info: ObjectInfo) -> dict[str, Any] | None:
    etag = _etag(info)
    if row.state != "present":
        run.tally.add("restored")
    elif row.etag != etag or row.size != info.size:
        run.tally.add("changed")
    else:
        run.tally.add("unchanged")
        return None
    return {"new_key": row.key, "new_etag": etag, "new_size": info.size}


def _insert(session: Session, run: _Run, infos: Any) -> None:
    moment = now()
    rows = []
    for info in infos:
        label = run.label_of(info.key) or Label("", "")
        rows.append(
            {
                "dataset_id": run.dataset.id,
                "key": info.key,
                "etag": _etag(info),
                "size": info.size,
                "state": "present",
                "label": label.name or None,
                "label_source": label.source or None,
                "indexed_at": moment,
                "usable": False,
            }
        )
    if rows:
        session.execute(insert(_images), rows)  # type: ignore[arg-type]
        run.tally.add("added", len(rows))


def _update(
    session: Session, run: _Run, changed: list[dict[str, Any]], relabelled: list[dict[str, Any]]
) -> None:
    connection = session.connection()
    if changed:
        keys = [change.pop("new_key") for change in changed]
        connection.execute(
            update(_images)  # type: ignore[arg-type]
            .where(_images.c.id == bindparam("row"))
            .values(
                etag=bindparam("new_etag"),
                size=bindparam("new_size"),
                state="present",
                indexed_at=now(),
                **_UNCHECKED,
            ),
            changed,
        )
        _forget_findings(session, run.dataset, keys)
    if relabelled:
        connection.execute(
            update(_images)  # type: ignore[arg-type]
            .where(_images.c.id == bindparam("row"))
            .values(label=bindparam("name"), label_source=bindparam("source")),
            relabelled,
        )
        run.tally.add("relabelled", len(relabelled))


def _etag(info: ObjectInfo) -> str:
    """A store that gives no etag gives at least the time of the last change."""
    return info.etag[:100] or f"{info.size}-{info.modified.isoformat() if info.modified else ''}"


def _delete_unseen(sessions: SessionFactory, run: _Run) -> None:
    """Make tombstones of the images that this sync knew when it began and has not met."""
    with sessions() as session:
        present = select(func.count()).select_from(Image).where(*_former(run))
        if session.scalar(present) == len(run.seen):
            return
    last = run.seen.first - 1
    while True:
        with transaction(sessions) as session:
            page = session.execute(
                select(Image.id, Image.key)
                .where(*_former(run), Image.id > last)
                .order_by(Image.id)
                .limit(_PAGE)
            ).all()
            if not page:
                return
            last = page[-1].id
            gone = [row for row in page if row.id not in run.seen]
            run.tally.add("deleted", len(gone))
            for part in (gone[start : start + BATCH] for start in range(0, len(gone), BATCH)):
                session.execute(
                    update(Image)
                    .where(Image.id.in_([row.id for row in part]))
                    .values(state="deleted", **_UNCHECKED)
                    .execution_options(synchronize_session=False)
                )
                _forget_findings(session, run.dataset, [row.key for row in part])
            operations.progress(session, run.operation_id, run.attempt, result=run.tally.dump())


def _former(run: _Run) -> tuple[ColumnElement[bool], ...]:
    """The images that were there when the sync began, or came back during it."""
    return Image.dataset_id == run.dataset.id, Image.state == "present", Image.id <= run.seen.last


def _forget_findings(session: Session, dataset: Dataset, keys: Sequence[str]) -> None:
    session.execute(
        delete(Finding)
        .where(Finding.dataset_id == dataset.id, Finding.source == "check", Finding.key.in_(keys))
        .execution_options(synchronize_session=False)
    )


def _end(sessions: SessionFactory, run: _Run) -> dict[str, int]:
    if run.tally.counts["added"]:
        _carry_labels(sessions, run)
    with transaction(sessions) as session:
        operations.progress(session, run.operation_id, run.attempt)
        findings.replace(session, run.dataset, "sync", findings.of_sync(run.dataset, run.tally))
        session.execute(update(Dataset).where(Dataset.id == run.dataset.id).values(synced_at=now()))
    return run.tally.counts


def _carry_labels(sessions: SessionFactory, run: _Run) -> None:
    with sessions() as session:
        found = renaming.pairs(session, run.dataset, run.seen.last)
    for start in range(0, len(found), BATCH // 2):
        with transaction(sessions) as session:
            operations.progress(session, run.operation_id, run.attempt)
            renaming.carry(session, found[start : start + BATCH // 2])
