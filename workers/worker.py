"""The RQ worker: runs allowed jobs only, one forked process a job, and reaps between and during jobs."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import RedisError
from rq import Worker
from rq.job import Job
from sqlalchemy.exc import OperationalError

from backend.db import transaction
from backend.errors import AppError
from backend.queue import RUN_TRAINING, SightloopJob, enqueue
from backend.runtime import Runtime
from backend.training import registry as tasks
from backend.training.lifecycle import FINAL, TaskState
from backend.training.tables import TrainingTask
from workers.parent import die_with_parent
from workers.reaper import reap
from workers.scratch import forget

logger = structlog.get_logger()
REAP_SECONDS = 5
# RQ waits for a job at most this long minus 15 s before it comes back to its maintenance.
WORKER_TTL = REAP_SECONDS + 15


class SightloopWorker(Worker):
    """A worker of the given queues. The parent process imports no training framework."""

    job_class = SightloopJob

    def __init__(self, runtime: Runtime, queues: list[str]) -> None:
        super().__init__(
            queues,
            connection=runtime.redis,
            serializer="json",
            worker_ttl=WORKER_TTL,
            maintenance_interval=REAP_SECONDS,
            job_monitoring_interval=REAP_SECONDS,
        )
        self._runtime = runtime
        self._reaped = 0.0

    def run_maintenance_tasks(self) -> None:
        """Between jobs."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        self._reap()

    def maintain_heartbeats(self, job: Job, execution: Any) -> None:
        """During a job, which goes on while the queue does not answer: its training needs none."""
        try:
            super().maintain_heartbeats(job, execution)
        except RedisError as error:
            logger.warning("queue_does_not_answer", reason=type(error).__name__)
        self._reap()

    def main_work_horse(self, job: Job, queue: Any) -> None:
        """In the forked process."""
        die_with_parent()
        self._runtime.leave_to_parent()
        super().main_work_horse(job, queue)

    def monitor_work_horse(self, job: Job, queue: Any, execution: Any) -> None:
        """In the parent, while a job runs. The second signal ends it with the job, whose task waits again."""
        try:
            super().monitor_work_horse(job, queue, execution)
        except SystemExit:
            if job.func_name == RUN_TRAINING:
                # Where this fails, the reaper of another worker finds the task.
                with suppress(AppError, OperationalError):
                    self._lose(int(job.args[0]), tasks.SHUT_DOWN)
            raise

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """The forked process was killed (by hand, or for its memory): the task goes on at once."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]
        if job.func_name == RUN_TRAINING:
            self._lose(int(job.args[0]), f"its process was killed by signal {ret_val & 0x7F}")
        else:
            self._reap()

    def _lose(self, task_id: int, reason: str) -> None:
        with transaction(self._runtime.sessions) as session:
            task = session.get_one(TrainingTask, task_id)
            state = TaskState(task.state)
            if state in FINAL or state is TaskState.QUEUED:
                return
            queued = tasks.lose(session, task, reason)
        if queued:
            enqueue(self._runtime.redis, task.queue, RUN_TRAINING, task.id, attempt=task.attempt)
        else:  # it ended without its process, which would have tidied up
            forget(self._runtime.settings, task_id)

    def _reap(self) -> None:
        if time.monotonic() - self._reaped < REAP_SECONDS - 1:
            return
        self._reaped = time.monotonic()
        try:
            reap(self._runtime)
        # Of the queue or the database; the next round goes on.
        except (AppError, OperationalError, RedisError) as error:
            logger.warning("reaper_waits", reason=str(error).splitlines()[0])
