"""Where a training task runs: which queue serves the GPUs that were asked for."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from backend.errors import NoSuchDevice
from backend.queue import TRAIN, gpu_queue


@dataclass(frozen=True)
class Placement:
    """The queue, and a note for the user when it is not quite what was asked for."""

    queue: str
    note: str = ""


def gpu_types(served: Set[str]) -> list[str] | None:
    """The types of GPU that living workers serve, given their queues; None when none of them has a GPU."""
    if gpu_queue("") not in served:
        return None
    start = gpu_queue("") + "-"
    return sorted(name.removeprefix(start) for name in served if name.startswith(start))


def place(gpus: int, gpu_type: str, served: Set[str]) -> Placement:
    """Choose the queue for a request, given the queues that living workers serve.

    With no GPU anywhere the task runs on the CPU and says so. Raises `NoSuchDevice` when there are GPUs, but
    none of the type that was asked for.
    """
    if gpus == 0 and not gpu_type:
        return Placement(TRAIN)
    types = gpu_types(served)
    if types is None:
        return Placement(TRAIN, "no worker has a GPU: this task trains on the CPU")
    if gpu_type and gpu_type.lower() not in types:
        raise NoSuchDevice(
            f"no worker has a GPU of type {gpu_type!r}; the types are {', '.join(types)}. "
            "Leave out --gpu-type to take any"
        )
    return Placement(gpu_queue(gpu_type))
