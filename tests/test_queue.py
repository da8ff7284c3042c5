"""The queue: ids only, one job a row and attempt, allowed functions only."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from backend.errors import QueueUnavailable
from backend.queue import RUN_TRAINING, SightloopJob, enqueue, gpu_queue, is_live, ping, queue, served_queues
from tests.valkey import free_port


def test_the_same_attempt_is_queued_once(redis: Redis) -> None:
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=0)
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=0)
    assert queue(redis, "train").job_ids == ["train-7-0"]


def test_another_attempt_is_another_job(redis: Redis) -> None:
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=0)
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=1)
    assert queue(redis, "train").job_ids == ["train-7-0", "train-7-1"]


def test_a_row_whose_job_has_ended_can_be_queued_again(redis: Redis) -> None:
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=0)
    queue(redis, "train").delete(delete_jobs=True)
    job = SightloopJob.create(RUN_TRAINING, args=[7], id="train-7-0", connection=redis, serializer="json")
    job.set_status("failed")  # type: ignore[arg-type]
    job.save()
    assert not is_live(redis, "train-7-0")
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=0)
    assert is_live(redis, "train-7-0")


def test_a_job_that_is_not_on_the_list_does_not_run(redis: Redis, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    queue(redis, "train").enqueue("os.mkdir", str(canary), job_id="evil")
    job = SightloopJob.fetch("evil", connection=redis, serializer="json")
    with pytest.raises(PermissionError, match=r"os\.mkdir"):
        job.perform()
    assert not canary.exists()


def test_jobs_are_json_and_not_pickle(redis: Redis) -> None:
    enqueue(redis, "train", RUN_TRAINING, 7, attempt=0)
    import zlib

    raw = redis.hget("rq:job:train-7-0", "data")
    assert isinstance(raw, bytes)
    assert b"workers.train.run" in zlib.decompress(raw)
    assert zlib.decompress(raw).startswith(b"[")


def test_a_silent_valkey_is_one_sentence() -> None:
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry

    absent = Redis(port=free_port(), retry=Retry(ExponentialBackoff(), 0))
    for ask in (lambda: enqueue(absent, "train", RUN_TRAINING, 1, attempt=0), lambda: ping(absent)):
        with pytest.raises(QueueUnavailable, match="does not answer"):
            ask()  # type: ignore[no-untyped-call]
    with pytest.raises(QueueUnavailable):
        served_queues(absent)


def test_gpu_queues_are_named_by_type() -> None:
    assert gpu_queue("") == "train-gpu"
    assert gpu_queue("A100") == "train-gpu-a100"
