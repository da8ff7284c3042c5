"""An image that was labelled by hand and then renamed in the bucket keeps its label.

It is known by its tombstone, which has the same bytes. What its folder or a label file says goes by its name:
an image that is moved to the folder of another class is labelled by that move.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, literal_column, or_, select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.labels import folders
from backend.labels.store import about_size, apply, label_of

_PAGE = 5000

Pair = tuple[int, int]
"""The ids of an image that nobody has labelled by hand, and of the tombstone that is the same image."""


def pairs(session: Session, dataset: Dataset, since: int) -> list[Pair]:
    """The images to carry a label to: those without one, and those with an id above `since` in the same class
    folder as before. Read only: each of both kinds is looked at once.
    """
    by_hand = select(Image.id, Image.key, Image.etag, Image.size).where(
        Image.dataset_id == dataset.id,
        literal_column("images.state = 'deleted'"),  # its index is not found by a bound value
        Image.label_source != folders.SOURCE,
        Image.label_file.is_(None),
    )
    gone = {(row.etag, row.size): row for row in session.execute(by_hand.order_by(Image.id))}
    if not gone:
        return []
    folder = and_(Image.label_source == folders.SOURCE, Image.id > since)
    candidates = select(Image.id, Image.key, Image.etag, Image.size, Image.label_source).where(
        Image.dataset_id == dataset.id,
        Image.state == "present",
        or_(Image.label_source.is_(None), folder),
    )
    found = []
    for row in session.execute(candidates.order_by(Image.id).execution_options(yield_per=_PAGE)):
        former = gone.get((row.etag, row.size))
        if former is None:
            continue
        stayed = folders.label_of(former.key, dataset.prefix) == folders.label_of(row.key, dataset.prefix)
        if row.label_source is None or stayed:
            found.append((row.id, former.id))
    return found


def carry(session: Session, found: Sequence[Pair]) -> None:
    """Give the images the labels of these tombstones, unless somebody has labelled them meanwhile."""
    ids = {number for pair in found for number in pair}
    rows = {image.id: image for image in session.scalars(select(Image).where(Image.id.in_(ids)))}
    for new, old in found:
        image, former = rows.get(new), rows.get(old)
        if image is None or former is None or image.label_source not in (None, folders.SOURCE):
            continue
        apply(
            session,
            image,
            label_of(former),
            source=former.label_source or folders.SOURCE,
            author=former.labelled_by,
            at=former.labelled_at,
            skipped=former.skipped,
        )
        about_size(image, former.regions_width, former.regions_height)
