"""The frozen snapshot that a training task works on: which images, with which labels, on which side.

It is JSON lines, named by their sha256; the same index gives the same snapshot. A task can be repeated from
it as long as the bucket holds the same images.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.datasets import text
from backend.datasets.similar import group_names
from backend.datasets.split import VALIDATION, Item, split
from backend.datasets.tables import Dataset, Image
from backend.datasets.types import has_classes
from backend.errors import NotEnoughData, ObjectMissing
from backend.storage import ObjectStore
from plugins.contract import Example
from plugins.regions import regions_from_json, to_json

FORMAT = 1
_MAX_BYTES = 1024**3


@dataclass(frozen=True)
class Snapshot:
    """`hash` is the sha256 of `data` in hex; `examples` come sorted by key."""

    hash: str
    examples: list[Example]
    data: bytes = field(repr=False)


def freeze(
    session: Session,
    dataset: Dataset,
    labels: Sequence[str],
    *,
    validation: float = VALIDATION,
    test: float = 0.0,
    trained: Set[str] = frozenset(),
) -> Snapshot:
    """The usable, present images that have one of the labels; all labels when none is named. Of a dataset of
    text those whose regions are known, if only that there are none, and are about an image of this size;
    regions are cut off at the image's edge.

    `trained` has the content hashes of images that a model has learned from which training goes on from:
    they and their copies stay on the side of training, so that the other sides are new to that model.

    Raises `NotEnoughData` with what is missing, `InvalidRequest` for senseless shares.
    """
    _require_ready(session, dataset)
    rows = _rows(session, dataset)
    if has_classes(dataset.type):
        wanted = _choose(dataset, rows, labels)
        rows = [row for row in rows if row.label in wanted]
    else:
        rows = [row for row in rows if not text.misfit(row)]
        _require_text(dataset, rows, labels)
    rows = sorted(rows, key=lambda row: row.key.encode())
    groups = group_names([row.content_hash for row in rows], [row.perceptual_hash for row in rows])
    items = [Item(group, _stratum(row)) for group, row in zip(groups, rows, strict=True)]
    kept = {group for group, row in zip(groups, rows, strict=True) if row.content_hash in trained}
    sides = split(items, validation=validation, test=test, trained=kept)
    examples = [
        Example(
            row.key,
            row.etag,
            row.size,
            row.content_hash,
            side,
            label=row.label,
            regions=text.trainable(row.regions or (), row.width, row.height),
            group=group,
            width=row.width,
            height=row.height,
        )
        for row, group, side in zip(rows, groups, sides, strict=True)
    ]
    data = _encode(dataset, examples)
    return Snapshot(hashlib.sha256(data).hexdigest(), examples, data)


def save(store: ObjectStore, bucket: str, snapshot: Snapshot) -> None:
    """Put the snapshot into the store; it does not matter how often."""
    packed = gzip.compress(snapshot.data, mtime=0)
    store.put_bytes(bucket, key_of(snapshot.hash), packed, content_type="application/gzip")


def load(store: ObjectStore, bucket: str, digest: str) -> Snapshot:
    """The snapshot of that hash. Raises `ObjectMissing` when it is gone or is not what its name says."""
    packed = store.read(bucket, key_of(digest), limit=_MAX_BYTES)
    try:
        unpacker = zlib.decompressobj(wbits=31)
        data = unpacker.decompress(packed, _MAX_BYTES)
    except zlib.error:
        data = b""
    if hashlib.sha256(data).hexdigest() != digest:
        raise ObjectMissing(
            f"the snapshot {key_of(digest)} in bucket {bucket!r} is damaged; start a new training task"
        )
    lines = data.decode().splitlines()
    return Snapshot(digest, [_example(json.loads(line)) for line in lines[1:]], data)


def key_of(digest: str) -> str:
    """Where the store keeps it."""
    return f"snapshots/{digest}.jsonl.gz"


def _require_ready(session: Session, dataset: Dataset) -> None:
    fresh = session.get_one(Dataset, dataset.id, populate_existing=True)
    for moment, verb in ((fresh.synced_at, "sync"), (fresh.checked_at, "check")):
        if moment is None:
            raise NotEnoughData(
                f"dataset {dataset.name!r} has never had a {verb}; run `sightloop datasets {verb} "
                f"{dataset.name}` first"
            )
    present = (
        select(func.count())
        .select_from(Image)
        .where(Image.dataset_id == dataset.id, Image.state == "present")
    )
    total = session.scalar(present) or 0
    if not total:
        raise NotEnoughData(f"dataset {dataset.name!r} has no images; upload some and sync it")
    if not session.scalar(present.where(Image.usable)):
        raise NotEnoughData(
            f"none of the {total:,} images of dataset {dataset.name!r} can be used; "
            f"`sightloop datasets check {dataset.name}` says why"
        )


def _rows(session: Session, dataset: Dataset) -> Sequence[Any]:
    return session.execute(
        select(
            Image.key,
            Image.etag,
            Image.size,
            Image.label,
            Image.regions,
            Image.regions_width,
            Image.regions_height,
            Image.content_hash,
            Image.perceptual_hash,
            Image.width,
            Image.height,
        ).where(
            Image.dataset_id == dataset.id,
            Image.state == "present",
            Image.usable,
            Image.checked_etag == Image.etag,
            Image.label.is_not(None) if has_classes(dataset.type) else Image.regions.is_not(None),
            Image.skipped.is_(False),
        )
    ).all()


def _choose(dataset: Dataset, rows: Sequence[Any], labels: Sequence[str]) -> set[str]:
    usable = Counter(row.label for row in rows)
    unknown = sorted(set(labels) - set(usable))
    if unknown:
        raise NotEnoughData(
            f"no usable image of dataset {dataset.name!r} is labelled {_names(unknown)}; "
            f"its labels are {_names(sorted(usable)) or 'none'}"
        )
    wanted = set(labels) or set(usable)
    if len(wanted) < 2:
        raise NotEnoughData(
            f"a classifier needs two labels or more; dataset {dataset.name!r} gives "
            f"{_names(sorted(wanted)) or 'none'}"
        )
    few = sorted(label for label in wanted if usable[label] < 2)
    if few:
        raise NotEnoughData(
            f"each label needs 2 usable images or more, one to train and one to validate; {_names(few)} "
            f"{'has' if len(few) == 1 else 'have'} fewer: add images, or leave the label out"
        )
    return wanted


def _stratum(row: Any) -> str:
    """What both sides of the split need some of: each class, or images with text and images without."""
    return row.label or ("text" if text.has_text(row.regions or ()) else "no text")


def _require_text(dataset: Dataset, rows: Sequence[Any], labels: Sequence[str]) -> None:
    if labels:
        raise NotEnoughData(
            f"dataset {dataset.name!r} has text, not classes: leave out the labels {_names(sorted(labels))}"
        )
    number = sum(text.has_text(row.regions or ()) for row in rows)
    if number < 2:
        raise NotEnoughData(
            "training needs 2 usable images with transcribed text or more, one to train and one to validate; "
            f"dataset {dataset.name!r} has {number or 'none'}: label it with `sightloop datasets label "
            f"{dataset.name}`, or put VOC or PPOCRLabel files beside the images and sync it"
        )


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:10])
    return shown if len(labels) <= 10 else f"{shown} and {len(labels) - 10} more"


def _encode(dataset: Dataset, examples: Sequence[Example]) -> bytes:
    head = {"format": FORMAT, "type": dataset.type, "bucket": dataset.bucket, "prefix": dataset.prefix}
    lines = [head, *(_line(example) for example in examples)]
    return b"".join(
        json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n" for line in lines
    )


def _line(example: Example) -> dict[str, Any]:
    line = {name: getattr(example, name) for name in _FIELDS}
    return {**line, "regions": [to_json(region) for region in example.regions]}


def _example(line: dict[str, Any]) -> Example:
    return Example(**{**line, "regions": regions_from_json(line["regions"])})


_FIELDS = ("key", "etag", "size", "content_hash", "split", "label", "regions", "group", "width", "height")
