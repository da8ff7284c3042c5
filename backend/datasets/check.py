"""`check`: read and decode every image that changed since the last check, and say what is wrong with it.

Results are kept per image and etag, so a check that was cut off goes on where it was, and the next one only
reads what is new. What concerns many images (duplicates, classes) is found again from the index each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, case, cast, delete, func, or_, select, update
from sqlalchemy.orm import Session

from backend.datasets import findings
from backend.datasets.findings import Found
from backend.datasets.inspection import Inspection, inspect
from backend.datasets.overview import overview
from backend.datasets.tables import Dataset, Finding, Image
from backend.db import SessionFactory, now, transaction
from backend.errors import ObjectMissing, StorageDenied, TooLarge
from backend.settings import Settings
from backend.storage import ObjectStore
from plugins.images import Limits

Progress = Callable[[int, int], None]
_PAGE = 64  # images between two commits; also how soon a wish to stop is seen
_MAX_THREADS = 32

_images = Image.__table__


def check(
    sessions: SessionFactory,
    store: ObjectStore,
    dataset: Dataset,
    *,
    settings: Settings,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Check what is new and answer counts: `images` = `usable` + `unusable`; `checked` in this run; findings
    by severity (`errors`, `warnings`, `notes`).

    `progress(done, total)` is called every few dozen images and may raise to end the check.
    Raises `StorageUnreachable`, `StorageDenied` when no image may be read at all.
    """
    limits = Limits(settings.max_image_bytes, settings.max_image_pixels)

    def look(row: Any) -> Inspection:
        return _look(store, dataset.bucket, row, limits)

    total = _count_stale(sessions, dataset)
    done = denied = 0
    # Twice the cores: while some threads decode (Pillow lets go of the interpreter), others wait for bytes.
    with ThreadPoolExecutor(min(2 * settings.cpu_threads + 2, _MAX_THREADS), "check") as pool:
        for page in _pages(sessions, dataset):
            results = list(pool.map(look, page))
            denied += sum(any(item.code == "not_readable" for item in result.found) for result in results)
            with transaction(sessions) as session:
                _record(session, dataset, page, results)
            done += len(page)
            if progress is not None:
                progress(done, max(total, done))
    if done and denied == done and not _has_read_any(sessions, dataset):
        raise StorageDenied(
            f"{store.address.endpoint} lists {dataset.bucket!r} but lets this access key read none of its "
            "images; allow it to read objects there"
        )
    return {"checked": done, **_conclude(sessions, dataset)}


def _has_read_any(sessions: SessionFactory, dataset: Dataset) -> bool:
    """Whether an image could be read, now or before: then the store lets images be read, but these."""
    read = (Image.dataset_id == dataset.id, Image.state == "present", Image.checked_etag.is_not(None))
    with sessions() as session:
        return session.scalar(select(Image.id).where(*read).limit(1)) is not None


def _stale(dataset: Dataset) -> tuple[ColumnElement[bool], ...]:
    unchecked = or_(Image.checked_etag.is_(None), Image.checked_etag != Image.etag)
    return Image.dataset_id == dataset.id, Image.state == "present", unchecked


def _count_stale(sessions: SessionFactory, dataset: Dataset) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(Image).where(*_stale(dataset))) or 0


def _pages(sessions: SessionFactory, dataset: Dataset) -> Iterator[Sequence[Any]]:
    last = 0
    while True:
        with sessions() as session:
            page = session.execute(
                select(Image.id, Image.key, Image.etag, Image.size)
                .where(*_stale(dataset), Image.id > last)
                .order_by(Image.id)
                .limit(_PAGE)
            ).all()
        if not page:
            return
        last = page[-1].id
        yield page


def _look(store: ObjectStore, bucket: str, row: Any, limits: Limits) -> Inspection:
    if row.size > limits.max_bytes:
        text = f"the file has {row.size:,} bytes; at most {limits.max_bytes:,} are read"
        return Inspection([Found("too_many_bytes", text, row.key)])
    try:
        data, etag = store.read_version(bucket, row.key, limit=max(row.size, 1))
    except ObjectMissing:
        return Inspection([Found("vanished", "it is no more in the bucket", row.key)], retry=True)
    except TooLarge:
        return _changed(row)
    except StorageDenied as error:
        return Inspection([Found("not_readable", str(error), row.key)], retry=True)
    known = "T" not in row.etag  # an etag that the index made up holds a time
    if len(data) != row.size or (known and etag and etag != row.etag):
        return _changed(row)
    return inspect(row.key, data, limits)


def _changed(row: Any) -> Inspection:
    return Inspection([Found("changed", "the bucket holds another version of it", row.key)], retry=True)


def _record(session: Session, dataset: Dataset, page: Sequence[Any], results: Sequence[Inspection]) -> None:
    session.connection().execute(
        update(_images)  # type: ignore[arg-type]
        # A sync may have changed the row meanwhile: then this is not about its object.
        .where(_images.c.id == bindparam("row"), _images.c.etag == bindparam("version"))
        .values({**{name: bindparam(f"new_{name}") for name in _RESULT}, **_REGIONS_SIZE}),
        [
            {
                "row": row.id,
                "version": row.etag,
                "new_checked_etag": None if result.retry else row.etag,
                **{f"new_{name}": getattr(result, name) for name in _RESULT[1:]},
            }
            for row, result in zip(page, results, strict=True)
        ],
    )
    session.execute(
        delete(Finding)
        .where(
            Finding.dataset_id == dataset.id,
            Finding.source == "check",
            Finding.key.in_([row.key for row in page]),
        )
        .execution_options(synchronize_session=False)
    )
    findings.add(session, dataset, "check", [item for result in results for item in result.found])


_RESULT = ("checked_etag", "usable", "width", "height", "content_hash", "perceptual_hash")
# Regions of which nobody has said it are about the image as it is seen for the first time.
_SIZELESS = _images.c.regions_width.is_(None) & (cast(_images.c.regions, Text) != "[]")
_REGIONS_SIZE = {
    f"regions_{side}": case((_SIZELESS, bindparam(f"new_{side}")), else_=_images.c[f"regions_{side}"])
    for side in ("width", "height")
}


def _conclude(sessions: SessionFactory, dataset: Dataset) -> dict[str, int]:
    with sessions() as session:
        found = overview(session, dataset)
    with transaction(sessions) as session:
        findings.replace(session, dataset, "check", found, findings.RECOMPUTED)
        session.execute(update(Dataset).where(Dataset.id == dataset.id).values(checked_at=now()))
        states: dict[bool, int] = dict(
            session.execute(
                select(Image.usable, func.count())
                .where(Image.dataset_id == dataset.id, Image.state == "present")
                .group_by(Image.usable)
            ).all()
        )
        severities: dict[str, int] = dict(
            session.execute(
                select(Finding.severity, func.count())
                .where(Finding.dataset_id == dataset.id)
                .group_by(Finding.severity)
            ).all()
        )
    usable, unusable = states.get(True, 0), states.get(False, 0)
    return {
        "images": usable + unusable,
        "usable": usable,
        "unusable": unusable,
        "errors": severities.get("error", 0),
        "warnings": severities.get("warning", 0),
        "notes": severities.get("note", 0),
    }
