"""What the job of `datasets label` does, for tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.datasets import operations
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image, Operation
from backend.label_studio import publishing
from backend.label_studio.tables import LabelingItem
from backend.runtime import Runtime


def claimed(session: Session, dataset: Dataset, kind: str, **parameters: Any) -> Operation:
    """An operation that this test runs."""
    started = operations.start(session, dataset, kind, parameters)
    session.commit()
    operation = operations.claim(session, started.id)
    session.commit()
    assert operation is not None
    return operation


def progress_of(runtime: Runtime, operation: Operation) -> Progress:
    """What its run is given."""
    return Progress(runtime.sessions, operation)


def publish(runtime: Runtime, session: Session, dataset: Dataset) -> dict[str, Any]:
    """`datasets label` to its end."""
    operation = claimed(session, dataset, "label", labels=["washer"])
    result = publishing.run(runtime, operation, progress_of(runtime, operation))
    operations.finish(session, operation.id, operation.attempt, result)
    session.commit()
    return result


def one(session: Session, query: Any) -> Any:
    """The one row, newly read; the lock of the test's session is given back at once."""
    found = session.scalars(query.execution_options(populate_existing=True)).one()
    session.commit()
    return found


def item_of(session: Session, key: str) -> LabelingItem:
    """The item of the image of that key."""
    query = select(LabelingItem).join(Image, Image.id == LabelingItem.image_id).where(Image.key == key)
    found: LabelingItem = one(session, query)
    return found
