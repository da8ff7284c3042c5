"""The one way to change what is known of an image: its row and the history together.

Only the labels that sync takes from folders are written past it, in bulk.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.db import now
from backend.labels.sources import PEOPLE, by_key
from backend.labels.tables import LabelChange
from plugins.contract import Label
from plugins.regions import label_from_json, label_to_json, regions_from_json, to_json


def label_of(image: Image) -> Label | None:
    """What is known of the image, or None for an unlabelled one."""
    if image.label is None and image.regions is None:
        return None
    return Label(image.label, regions_from_json(image.regions or ()))


def fingerprint(label: Label | None) -> str:
    """Tells a label from others (sha256 in hex); empty for none."""
    if label is None:
        return ""
    return hashlib.sha256(json.dumps(label_to_json(label), sort_keys=True).encode()).hexdigest()


def apply(
    session: Session,
    image: Image,
    label: Label | None,
    *,
    source: str,
    author: str = "",
    at: datetime | None = None,
    skipped: bool = False,
    file: str = "",
) -> bool:
    """Give the image this label (None: no label any more), and write the change into the history.

    `source` is one of `sources.PRECEDENCE`; whether it may replace what is there is the caller's question.
    `file` is the key of the label file in the bucket that says it.
    Answers whether anything changed; what says the same again only moves `labelled_by` and `labelled_at`,
    which tell that somebody has confirmed it.
    """
    before = _state(image)
    _set(image, label, source, skipped)
    image.labelled_by, image.labelled_at, image.label_file = author, at or now(), file or None
    if before == _state(image):
        return False
    session.add(_change(image, before, source, author=author, at=image.labelled_at, file=file))
    return True


def about_size(image: Image, width: int | None, height: int | None) -> None:
    """Note the pixels of the image that the label's regions are about, where their source tells. Without this
    they are about the image as it was when they came, or as it is first seen after that.
    """
    image.regions_width, image.regions_height = width, height


def withdraw(session: Session, dataset: Dataset, image: Image) -> None:
    """Take away the label that a file of the bucket gave, for it says it no more: what others have said
    counts again. Written into the history as `file_removed`.
    """
    file, source, before = image.label_file or "", image.label_source or "", _state(image)
    said = said_by_others(session, dataset, image, but_files=True)
    _set(image, said.label, said.source, skipped=False)
    image.labelled_by, image.labelled_at, image.label_file = said.author, now(), None
    session.add(_change(image, before, source, file=file, file_removed=True))


@dataclass(frozen=True)
class Said:
    """What a source says of an image; no label and no source where none says anything."""

    label: Label | None = None
    source: str = ""
    author: str = ""
    file: str = ""


def said_by_others(session: Session, dataset: Dataset, image: Image, *, but_files: bool = False) -> Said:
    """What is known of the image without the people who label it, and with `but_files` without the files in
    the bucket: the newest change that another source has made, else the folder.
    """
    theirs = LabelChange.source != PEOPLE
    theirs = theirs & (LabelChange.file == "") if but_files else theirs | (LabelChange.file != "")
    chosen = select(LabelChange).where(LabelChange.image_id == image.id, theirs)
    last = session.scalar(chosen.order_by(LabelChange.id.desc()).limit(1))
    if last is not None and last.after is not None and not last.file_removed:
        return Said(label_from_json(last.after), last.source, last.author, last.file)
    if last is not None and last.file_removed:
        return said_by_others(session, dataset, image, but_files=True)
    folder = by_key(dataset.type, dataset.prefix)(image.key)
    return Said() if folder is None else Said(Label(folder.name), folder.source)


def _change(image: Image, before: dict[str, Any] | None, source: str, **more: Any) -> LabelChange:
    return LabelChange(
        dataset_id=image.dataset_id,
        image_id=image.id,
        source=source,
        before=before,
        after=_state(image),
        **more,
    )


def _set(image: Image, label: Label | None, source: str, skipped: bool) -> None:
    image.label = None if label is None else label.name
    regions = None if label is None or label.name is not None else [to_json(r) for r in label.regions]
    if regions != image.regions:  # said again they are about the same image as before
        image.regions_width, image.regions_height = (image.width, image.height) if regions else (None, None)
    image.regions = regions
    image.skipped = skipped
    image.label_source = source if label is not None or skipped else None


def _state(image: Image) -> dict[str, Any] | None:
    if image.label is None and image.regions is None and not image.skipped:
        return None
    state: dict[str, Any] = {"name": image.label, "regions": image.regions or []}
    return {**state, "skipped": True} if image.skipped else state
