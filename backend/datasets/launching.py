"""Starting an operation on a dataset: a row in the database and a job that runs it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backend.datasets import operations, registry
from backend.datasets.tables import Operation
from backend.db import transaction
from backend.errors import LabelStudioMissing
from backend.queue import DATA, RUN_OPERATION, enqueue, ping
from backend.runtime import Runtime


def launch_operation(
    runtime: Runtime, workspace_id: int, name: str, kind: str, parameters: dict[str, Any] | None = None
) -> Operation:
    """A queued operation on the dataset of that name, with its dataset loaded.

    Raises `NotFound`, `WrongState`, `InvalidRequest`, and `QueueUnavailable` before anything is written.
    """
    ping(runtime.redis)
    with transaction(runtime.sessions) as session:
        dataset = registry.get(session, workspace_id, name)
        row = operations.start(session, dataset, kind, parameters)
        row.dataset = dataset
    enqueue(runtime.redis, DATA, RUN_OPERATION, row.id, attempt=row.attempt)
    return row


def launch_labeling(runtime: Runtime, workspace_id: int, name: str, labels: Iterable[str]) -> Operation:
    """The same for labeling, which offers `labels` beside the dataset's. Raises also `LabelStudioMissing`."""
    with runtime.sessions() as session:
        registry.get(session, workspace_id, name)
    if not runtime.settings.label_studio_url:
        raise LabelStudioMissing(
            "no Label Studio is set up: start the stack with it, or set SIGHTLOOP_LABEL_STUDIO_URL and "
            "SIGHTLOOP_LABEL_STUDIO_TOKEN"
        )
    chosen = sorted({label.strip() for label in labels} - {""})
    return launch_operation(runtime, workspace_id, name, "label", {"labels": chosen})
