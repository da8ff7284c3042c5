"""The way to the workers: RQ queues that carry ids only.

A job names its function as text, so the web process imports no worker and no training framework, and the
worker runs only the functions of `ALLOWED`: whoever can write to the queue still cannot run anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus

from backend.errors import QueueUnavailable

DATA = "data"
TRAIN = "train"
RUN_OPERATION = "workers.operations.run"
RUN_TRAINING = "workers.train.run"
ALLOWED = frozenset({RUN_OPERATION, RUN_TRAINING})

_WEEK = 7 * 24 * 3600
_LIVE = (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED)


class SightloopJob(Job):
    """A job that runs only allowed functions, with JSON arguments."""

    @property
    def func(self) -> Callable[..., Any] | None:
        """The function; `PermissionError` for one that is not on the list."""
        if self.instance is not None or self.func_name not in ALLOWED:
            raise PermissionError(f"{self.func_name!r} is not a job of Sightloop")
        function: Callable[..., Any] | None = super().func
        return function


def gpu_queue(gpu_type: str) -> str:
    """The queue that only workers with GPUs of this type serve; without a type, any GPU."""
    return f"{TRAIN}-gpu-{gpu_type.lower()}" if gpu_type else f"{TRAIN}-gpu"


def queue(redis: Redis, name: str) -> Queue:
    """The queue of that name."""
    return Queue(name, connection=redis, job_class=SightloopJob, serializer="json")


def enqueue(redis: Redis, name: str, function: str, row_id: int, *, attempt: int) -> None:
    """Queue one job; the same row and attempt twice is one job.

    Raises `QueueUnavailable` when Valkey does not answer.
    """
    job_id = f"{function.rsplit('.', 2)[1]}-{row_id}-{attempt}"
    try:
        if is_live(redis, job_id):
            return
        queue(redis, name).enqueue_call(
            function,
            args=(row_id,),
            timeout=_WEEK,
            result_ttl=3600,
            failure_ttl=_WEEK,
            job_id=job_id,
            unique=True,
        )
    except DuplicateJobError:
        _discard_finished(redis, name, function, row_id, job_id)
    except RedisError as error:
        raise _unavailable(error) from None


def _unavailable(error: RedisError) -> QueueUnavailable:
    return QueueUnavailable(
        f"the queue does not answer ({type(error).__name__}); see `sightloop status`, then try again"
    )


def _discard_finished(redis: Redis, name: str, function: str, row_id: int, job_id: str) -> None:
    """The id belongs to a job that has ended while its row is queued again: make room and enqueue."""
    if is_live(redis, job_id):
        return
    SightloopJob.fetch(job_id, connection=redis, serializer="json").delete()
    queue(redis, name).enqueue_call(function, args=(row_id,), timeout=_WEEK, result_ttl=3600, job_id=job_id)


def is_live(redis: Redis, job_id: str) -> bool:
    """Whether a job of that id waits or runs. Raises `QueueUnavailable`."""
    try:
        job = SightloopJob.fetch(job_id, connection=redis, serializer="json")
        return job.get_status(refresh=True) in _LIVE
    except NoSuchJobError:
        return False
    except RedisError as error:
        raise _unavailable(error) from None


def ping(redis: Redis) -> None:
    """Raises `QueueUnavailable` when Valkey does not answer."""
    try:
        redis.ping()
    except RedisError as error:
        raise _unavailable(error) from None


def served_queues(redis: Redis) -> set[str]:
    """The names of all queues that a living worker serves. Raises `QueueUnavailable`."""
    try:
        return {name for worker in Worker.all(connection=redis) for name in worker.queue_names()}
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__})") from None
