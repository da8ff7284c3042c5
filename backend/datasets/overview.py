"""What only the whole dataset shows: images that are alike, classes that are few, unequal or ill-named."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.datasets import similar, text
from backend.datasets.findings import Found
from backend.datasets.tables import Dataset, Image
from backend.datasets.types import has_classes

ENOUGH_IMAGES = 20  # usable images a class
_UNEQUAL = 10  # times that the largest class may have of the smallest
_MAX_CLASS_NAME = 100
_NAMED = 5  # names that a sentence lists

_ODD = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]|^[\s.]|[\s.]$')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_TRAIN = {"train", "training"}
_OTHER_SIDES = {"val", "valid", "validation", "test", "testing"}


def overview(session: Session, dataset: Dataset) -> list[Found]:
    """Findings about images that are alike, and about the classes, or where labels are text about regions."""
    rows = session.execute(
        select(Image.key, Image.label, Image.content_hash, Image.perceptual_hash, Image.skipped)
        .where(Image.dataset_id == dataset.id, Image.state == "present", Image.usable)
        .order_by(Image.key)
    ).all()
    found = _alike(rows)
    if not has_classes(dataset.type):
        found += text.overview(session, dataset)
    else:
        unlabelled = session.scalar(
            select(func.count())
            .select_from(Image)
            .where(Image.dataset_id == dataset.id, Image.state == "present", Image.label.is_(None))
        )
        labels = Counter(row.label for row in rows if row.label is not None and not row.skipped)
        found += _numbers(labels, unlabelled or 0) + _names(labels)
    return found


def _alike(rows: Sequence[Any]) -> list[Found]:
    same: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        same[row.content_hash].append(row)
    found = []
    for copies in same.values():
        for row in copies if len(copies) > 1 else ():
            others = [other for other in copies if other is not row]
            found.append(_pair("duplicate", "the same bytes as", row, others))
    # Each content once; its copies are named above. A content keeps the label of its first key.
    single = [copies[0] for copies in same.values()]
    likeness = similar.liken(similar.parse([row.perceptual_hash for row in single]))
    neighbours: dict[int, list[Any]] = defaultdict(list)
    for one, other in likeness.pairs.tolist():
        neighbours[one].append(single[other])
        neighbours[other].append(single[one])
    found += [
        Found("uniform_scene", f"{number:,} images look nearly the same") for number in likeness.uniform
    ]
    found += [
        _pair("near_duplicate", "nearly the same as", single[number], others)
        for number, others in sorted(neighbours.items())
    ]
    return found


def _pair(code: str, relation: str, row: Any, others: Sequence[Any]) -> Found:
    """One finding an image, which names one other: with another label if there is one."""
    contrary = [o for o in others if None not in (o.label, row.label) and o.label != row.label]
    other = (contrary or others)[0]
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    if contrary:
        text = f"{relation} {other.key}{more}, here labelled {row.label!r} and there {other.label!r}"
        return Found(f"{code}_other_label", text, row.key)
    return Found(code, f"{relation} {other.key}{more}", row.key)


def _numbers(labels: Counter[str], unlabelled: int) -> list[Found]:
    found = []
    if unlabelled:
        found.append(Found("unlabelled", f"{unlabelled:,} images have no label"))
    if not labels:
        return [*found, Found("no_labels", "no usable image has a label")]
    if len(labels) == 1:
        found.append(Found("single_class", f"every usable image is labelled {next(iter(labels))!r}"))
    found += [
        Found("few_images", f"class {label!r} has {number} usable images, fewer than {ENOUGH_IMAGES}")
        for label, number in sorted(labels.items())
        if number < ENOUGH_IMAGES
    ]
    (largest, most), (smallest, least) = labels.most_common()[0], labels.most_common()[-1]
    if most > _UNEQUAL * least:
        found.append(
            Found(
                "imbalance", f"class {largest!r} has {most:,} usable images, class {smallest!r} only {least}"
            )
        )
    return found


def _names(labels: Iterable[str]) -> list[Found]:
    names = sorted(labels)
    found = [
        Found("class_name_odd", f"the class name {name[:_MAX_CLASS_NAME]!r} cannot be a file name everywhere")
        for name in names
        if _ODD.search(name) or _RESERVED.fullmatch(name) or len(name) > _MAX_CLASS_NAME
    ]
    alike: dict[str, list[str]] = defaultdict(list)
    for name in names:
        alike[re.sub(r"[\s_-]+", "", name).casefold()].append(name)
    found += [
        Found("class_names_alike", f"these classes may be one: {_listed(group)}")
        for group in alike.values()
        if len(group) > 1
    ]
    sides = [name for name in names if name.casefold() in _TRAIN | _OTHER_SIDES]
    if any(name.casefold() in _TRAIN for name in sides) and len(sides) > 1:
        found.append(Found("split_folders", f"the folders {_listed(sides)} are taken for classes"))
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
