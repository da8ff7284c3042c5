"""Items get a new address of their image when it has changed or come back, when their link ends soon, and
when it names a former address of the API.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update

from backend.datasets import links
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image
from backend.db import now, transaction
from backend.label_studio.client import LabelStudio, connect
from backend.label_studio.faults import NotThere
from backend.label_studio.tables import LabelingItem, LabelingProject
from backend.runtime import Runtime
from backend.settings import Settings

META = "sightloop_image"  # the key in an item's `meta` under which our image's id stands
RANK = "next"  # the field of an item's data with its place in the order of what to label next
_BATCH = 50


def refresh(runtime: Runtime, dataset: Dataset, progress: Progress, most: int = sys.maxsize) -> int:
    """Bring them up to date, at most so many; how many. What people have said of an image stays as it is, and
    a changed image is predicted again. Label Studio is spoken to only if there are any.

    Raises what the client raises; what was done by then is kept.
    """
    done = 0
    _forget_former_address(runtime, dataset)
    with ExitStack() as stack:
        studio: LabelStudio | None = None
        while not progress.should_stop() and (stale := _stale(runtime, dataset, min(_BATCH, most - done))):
            if studio is None:
                studio = connect(runtime.settings)
                stack.callback(studio.close)
            expires = now() + links.LIFETIME
            for item, image in stale:
                data = data_of(runtime.settings, dataset, image, expires, item.position)
                _renew(studio, item, image, data)
            with transaction(runtime.sessions) as session:
                for item, image in stale:
                    _note(session.get(LabelingItem, item.id), image.etag, expires)
            done += len(stale)
            progress(done, done + 1)
    return done


def data_of(
    settings: Settings, dataset: Dataset, image: Image, expires: datetime, rank: int | None = None
) -> dict[str, str]:
    """An item's data: its image by a link that ends at `expires`, and the image's place in the order of what
    to label next (from 0), as a text that sorts like the number.
    """
    data = {"image": links.link(settings, dataset, image, expires), "key": image.key}
    return data if rank is None else {**data, RANK: f"{rank + 1:05}"}


def _forget_former_address(runtime: Runtime, dataset: Dataset) -> None:
    """Links are whole addresses: where browsers reach the API elsewhere than before, all are renewed."""
    address = links.base_url(runtime.settings)
    with transaction(runtime.sessions) as session:
        former = update(LabelingProject).where(
            LabelingProject.dataset_id == dataset.id, LabelingProject.address != address
        )
        if cast("CursorResult[Any]", session.execute(former.values(address=address))).rowcount:
            items = update(LabelingItem).where(LabelingItem.dataset_id == dataset.id)
            session.execute(items.values(link_expires_at=None))


def _stale(runtime: Runtime, dataset: Dataset, most: int) -> Sequence[tuple[LabelingItem, Image]]:
    due = or_(
        LabelingItem.etag != Image.etag,
        LabelingItem.archived,
        LabelingItem.link_expires_at.is_(None),
        LabelingItem.link_expires_at < now() + links.RENEW_BEFORE,
    )
    with runtime.sessions() as session:
        rows = session.execute(
            select(LabelingItem, Image)
            .join(Image, Image.id == LabelingItem.image_id)
            .where(LabelingItem.dataset_id == dataset.id, Image.state == "present", due)
            .order_by(LabelingItem.id)
            .limit(most)
        )
        return [(item, image) for item, image in rows]


def _renew(studio: LabelStudio, item: LabelingItem, image: Image, data: Mapping[str, str]) -> None:
    meta = {META: image.id, "etag": image.etag}
    with suppress(NotThere):  # somebody has deleted it; the daily comparison of all items notices
        studio.update_item(item.item, data=data, meta=meta)


def _note(item: LabelingItem | None, etag: str, expires: datetime) -> None:
    if item is None:
        return
    if item.etag != etag:
        item.predicted_by = ""
    item.etag, item.archived, item.link_expires_at = etag, False, expires
