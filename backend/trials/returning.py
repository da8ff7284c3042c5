"""Pictures that come back from a trial: new unlabelled images of the model's dataset."""

from __future__ import annotations

import secrets
from contextlib import suppress

from backend.datasets.launching import launch_operation
from backend.datasets.tables import Dataset
from backend.db import now, transaction
from backend.errors import Forbidden, QueueUnavailable, UnsupportedImage, WrongState
from backend.models.tables import Model
from backend.runtime import Runtime
from backend.trials.answering import checked
from backend.trials.tables import Trial
from plugins.images import EXTENSIONS, TRAINING_FORMATS


def return_picture(runtime: Runtime, trial: Trial, model: Model, data: bytes) -> str:
    """Put the picture directly below the dataset's prefix, where images have no label, and start a sync that
    finds it; answers its name.

    Raises `Forbidden` when the link's owner did not allow it, `UnsupportedImage`, and what the store raises.
    """
    if not trial.collects:
        raise Forbidden("the owner of this link did not allow pictures to be sent back")
    form = checked(data, runtime.settings).header.format
    if form not in TRAINING_FORMATS:
        raise UnsupportedImage(f"send the picture as {' or '.join(TRAINING_FORMATS)}")
    suffix = next(suffix for suffix, known in EXTENSIONS.items() if known == form)
    name = f"phone-{now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}{suffix}"
    with runtime.sessions() as session:
        dataset = session.get_one(Dataset, model.dataset_id)
    runtime.store(dataset.connection).put_bytes(
        dataset.bucket, dataset.prefix + name, data, f"image/{form.lower()}"
    )
    with transaction(runtime.sessions) as session:
        session.get_one(Trial, trial.id).returned += 1
    # One is under way, or no worker can be told: the next sync finds the picture as well.
    with suppress(WrongState, QueueUnavailable):
        launch_operation(runtime, dataset.workspace_id, dataset.name, "sync")
    return name
