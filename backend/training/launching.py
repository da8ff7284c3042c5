"""Starting a training task: a row in the database and a job on the queue that serves its device."""

from __future__ import annotations

from backend.datasets import registry as datasets
from backend.db import transaction
from backend.queue import RUN_TRAINING, enqueue, served_queues
from backend.runtime import Runtime
from backend.training import registry
from backend.training.devices import place
from backend.training.registry import TaskRequest
from backend.training.tables import TrainingTask


def launch_task(runtime: Runtime, workspace_id: int, dataset: str, request: TaskRequest) -> TrainingTask:
    """A queued task on the dataset of that name.

    Raises what `registry.create` does, `NoSuchDevice`, and `QueueUnavailable` before anything is written.
    """
    placement = place(request.gpus, request.gpu_type, served_queues(runtime.redis))
    with transaction(runtime.sessions) as session:
        found = datasets.get(session, workspace_id, dataset)
        task = registry.create(session, found, request, placement)
    enqueue(runtime.redis, task.queue, RUN_TRAINING, task.id, attempt=task.attempt)
    return task
