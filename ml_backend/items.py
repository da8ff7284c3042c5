"""Which of our images an item of Label Studio is.

Only our own index is asked: an item names its image by its number in the project that we filled. An address
in its data is never opened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.label_studio.tables import LabelingItem, LabelingProject

_AT_ONCE = 500

Item = Mapping[str, Any]


def images_of(session: Session, dataset: Dataset, items: Sequence[Item]) -> list[Image | None]:
    """The image of each item, in order; None for one that is not of this dataset's own project."""
    project = session.scalar(select(LabelingProject.project).where(LabelingProject.dataset_id == dataset.id))
    numbers = [_number(item, project) for item in items]
    wanted = sorted({number for number in numbers if number is not None})
    found: dict[int, Image] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        rows = session.execute(
            select(LabelingItem.item, Image)
            .join(Image, Image.id == LabelingItem.image_id)
            .where(
                LabelingItem.dataset_id == dataset.id,
                Image.dataset_id == dataset.id,
                LabelingItem.item.in_(wanted[start : start + _AT_ONCE]),
            )
        )
        found.update((number, image) for number, image in rows)
    return [None if number is None else found.get(number) for number in numbers]


def _number(item: Item, project: int | None) -> int | None:
    """The item's number, if it belongs to that project."""
    number = item.get("id")
    if project is None or item.get("project") != project:
        return None
    return number if isinstance(number, int) and 0 < number < 2**63 else None
