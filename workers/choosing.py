"""What to label next: the operation `next`.

It looks at the images with a network and fits its last layer to the labels as they are now. Its list is
written at the end at once, so that the former one stands until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import numpy as np
from sqlalchemy import delete, insert, select

from backend.datasets import operations
from backend.datasets.progress import Progress
from backend.datasets.tables import Dataset, Image, Operation
from backend.datasets.types import plugin_for
from backend.db import transaction
from backend.errors import AppError
from backend.label_studio import ordering, registry
from backend.label_studio.client import connect
from backend.labels.tables import LabelSuspect, QueuedLabel
from backend.models import registry as models
from backend.models.tables import Model
from backend.runtime import Runtime
from plugins import registry as plugins
from plugins import selection
from plugins.contract import Pick
from workers import features
from workers.features import Seen

MOST = 10_000  # images that are looked at; of more unlabelled ones so many are drawn
USUAL_COUNT = 200


def order(runtime: Runtime, operation: Operation, progress: Progress) -> dict[str, Any]:
    """Order the unlabelled images; answers `ordered`, `unlabelled`, `labelled` and `by`: the network, or
    empty for an order drawn at random, where there is none.
    """
    dataset = operation.dataset
    count = int(operation.parameters.get("count") or USUAL_COUNT)
    images, model = usable_images(runtime, dataset)
    free = [image for image in images if not is_labelled(image)]
    known = drawn([image for image in images if is_labelled(image)], dataset.id)
    result = {"ordered": 0, "unlabelled": len(free), "labelled": len(known), "by": ""}
    looked_at = known + drawn(free, dataset.id)
    seen, by = _look(runtime, dataset, looked_at, model, progress) if free else (Seen(free, None), "")
    if seen is None:
        return {**result, "stopped": True}
    picks = _pick(dataset, seen, count) if by else _at_random(seen, count, dataset.id)
    values = [
        {
            "dataset_id": dataset.id,
            "image_id": seen.images[pick.index].id,
            "position": place,
            "score": pick.score,
            "reason": pick.reason,
        }
        for place, pick in enumerate(picks)
    ]
    replace(runtime, operation, QueuedLabel, values)
    return {**result, "ordered": len(values), "by": by, **_show(runtime, dataset, progress)}


def _show(runtime: Runtime, dataset: Dataset, progress: Progress) -> dict[str, Any]:
    """Put the order into Label Studio, if the dataset has a project there; `ranked` items, or why not. The
    order is there without it, so that a failure is told and nothing more: `datasets label` makes up for it.
    """
    with runtime.sessions() as session:
        row = registry.project_of(session, dataset.id)
    if row is None:
        return {}
    try:
        studio = connect(runtime.settings)
        with closing(studio):
            return {"ranked": ordering.show(runtime, studio, row, dataset, progress)}
    except AppError as error:
        return {"not_in_label_studio": str(error)}


def usable_images(runtime: Runtime, dataset: Dataset) -> tuple[list[Image], Model | None]:
    """The images that can be used and that nobody has skipped, and the current model."""
    with runtime.sessions() as session:
        chosen = select(Image).where(
            Image.dataset_id == dataset.id,
            Image.state == "present",
            Image.usable,
            Image.skipped.is_(False),
        )
        images = list(session.scalars(chosen.order_by(Image.key)))
        return images, models.current(session, dataset.id)


def is_labelled(image: Image) -> bool:
    """Whether something is known of it, if only that there is no text."""
    return image.label is not None or image.regions is not None


def drawn(images: list[Image], seed: int) -> list[Image]:
    """All of them, or `MOST` drawn at random, in their order."""
    if len(images) <= MOST:
        return images
    rows = np.sort(np.random.default_rng(seed).permutation(len(images))[:MOST])
    return [images[row] for row in rows]


def _look(
    runtime: Runtime, dataset: Dataset, images: list[Image], model: Model | None, progress: Progress
) -> tuple[Seen | None, str]:
    """Rows by the current model, else by the network before any training, and which it was."""
    if not plugin_for(dataset.type).selection:
        return Seen(images, None), ""
    with features.of_model(runtime, model) as learned:
        network = learned or features.pretrained(runtime, dataset, images)
        if network is None:
            return Seen(images, None), ""
        return features.see(runtime, dataset, images, network, progress), network.version


def _pick(dataset: Dataset, seen: Seen, count: int) -> Sequence[Pick]:
    chosen = plugins.load(plugin_for(dataset.type).selection)
    labels = [image.label for image in seen.images]
    picks: list[Pick] = chosen.rank(seen.rows, labels, count, seed=dataset.id)
    return picks


def _at_random(seen: Seen, count: int, seed: int) -> Sequence[Pick]:
    free = [row for row, image in enumerate(seen.images) if not is_labelled(image)]
    return selection.at_random(np.array(free, np.intp), count, seed=seed)


def replace(
    runtime: Runtime,
    operation: Operation,
    table: type[QueuedLabel] | type[LabelSuspect],
    values: list[dict[str, Any]],
) -> None:
    """Put the new list in the place of the former, if this attempt still owns the operation."""
    with transaction(runtime.sessions) as session:
        operations.progress(session, operation.id, operation.attempt)
        session.execute(delete(table).where(table.dataset_id == operation.dataset_id))
        if values:
            session.execute(insert(table), values)
