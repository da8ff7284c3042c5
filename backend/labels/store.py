"""The one way to change what is known of an image: its row and the history together.

Only the labels that sync takes from folders are written past it, in bulk.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from backend.datasets.tables import Image
from backend.db import now
from backend.labels.tables import LabelChange
from plugins.contract import Label
from plugins.regions import regions_from_json, to_json


def label_of(image: Image) -> Label | None:
    """What is known of the image, or None for an unlabelled one."""
    if image.label is None and image.regions is None:
        return None
    return Label(image.label, regions_from_json(image.regions or ()))


def apply(
    session: Session,
    image: Image,
    label: Label | None,
    *,
    source: str,
    author: str = "",
    at: datetime | None = None,
    skipped: bool = False,
) -> bool:
    """Give the image this label (None: no label any more), and write the change into the history.

    `source` is one of `sources.PRECEDENCE`; whether it may replace what is there is the caller's question.
    Answers whether anything changed; what says the same again only moves `labelled_by` and `labelled_at`,
    which tell that somebody has confirmed it.
    """
    moment = at or now()
    regions = None if label is None or label.name is not None else [to_json(r) for r in label.regions]
    name = None if label is None else label.name
    before = _state(image)
    image.label, image.regions, image.skipped = name, regions, skipped
    image.label_source = source if label is not None or skipped else None
    image.labelled_by, image.labelled_at = author, moment
    after = _state(image)
    if before == after:
        return False
    session.add(
        LabelChange(
            dataset_id=image.dataset_id,
            image_id=image.id,
            source=source,
            author=author,
            at=moment,
            before=before,
            after=after,
        )
    )
    return True


def _state(image: Image) -> dict[str, Any] | None:
    if image.label is None and image.regions is None and not image.skipped:
        return None
    state: dict[str, Any] = {"name": image.label, "regions": image.regions or []}
    return {**state, "skipped": True} if image.skipped else state
