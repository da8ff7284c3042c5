"""An image that was labelled by hand and then renamed in the bucket keeps its label.

It is known by its tombstone, which has the same bytes. What its folder or a label file says goes by its name.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import literal_column, select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset, Image
from backend.labels import folders
from backend.labels.store import about_size, apply, label_of

_PAGE = 5000

Pair = tuple[int, int]
"""The ids of an image without a label, and of the tombstone that is the same image."""


def pairs(session: Session, dataset: Dataset) -> list[Pair]:
    """The images to carry a label to. Read only: each of both kinds is looked at once."""
    by_hand = select(Image.id, Image.etag, Image.size).where(
        Image.dataset_id == dataset.id,
        literal_column("images.state = 'deleted'"),  # its index is not found by a bound value
        Image.label_source != folders.SOURCE,
        Image.label_file.is_(None),
    )
    gone = {(row.etag, row.size): row.id for row in session.execute(by_hand.order_by(Image.id))}
    if not gone:
        return []
    unlabelled = select(Image.id, Image.etag, Image.size).where(
        Image.dataset_id == dataset.id, Image.state == "present", Image.label_source.is_(None)
    )
    rows = session.execute(unlabelled.order_by(Image.id).execution_options(yield_per=_PAGE))
    return [(row.id, gone[row.etag, row.size]) for row in rows if (row.etag, row.size) in gone]


def carry(session: Session, found: Sequence[Pair]) -> None:
    """Give the images the labels of these tombstones, unless somebody has labelled them meanwhile."""
    ids = {number for pair in found for number in pair}
    rows = {image.id: image for image in session.scalars(select(Image).where(Image.id.in_(ids)))}
    for new, old in found:
        image, former = rows.get(new), rows.get(old)
        if image is None or former is None or image.label_source is not None:
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
