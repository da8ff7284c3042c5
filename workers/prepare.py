"""The prepare step: bring the check up to date, freeze the snapshot, fetch its images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import update

from backend.datasets import check, snapshot
from backend.db import transaction
from backend.errors import AppError
from backend.label_studio import reconciling
from backend.label_studio import registry as labeling
from backend.storage import ObjectStore
from backend.training import records
from backend.training.tables import TrainingTask
from plugins.contract import AttemptLost, Example, PluginError, Previous, TrainingStopped
from workers import previous
from workers.previous import Choice

if TYPE_CHECKING:
    from workers.train import Attempt

_FETCHERS = 8


@dataclass(frozen=True)
class Prepared:
    """The frozen snapshot on this machine: `images` holds one file a content hash."""

    snapshot: str
    examples: Sequence[Example]
    images: Path
    device: str
    previous: Previous | None = None

    def read(self, example: Example) -> bytes:
        """The image's bytes as they were when the snapshot was frozen."""
        return (self.images / example.content_hash).read_bytes()


def prepare(attempt: Attempt) -> Prepared:
    """The whole step. Raises `AppError`, `TrainingStopped`, `AttemptLost`."""
    record, task = attempt.record, attempt.task
    device = _device(task)
    record.facts["device"] = device
    if task.note:
        record.log(task.note)
    store = attempt.runtime.store(task.dataset.connection)
    choice = _snapshot(attempt, store)
    frozen = choice.frozen
    prepared = Prepared(
        frozen.hash, frozen.examples, attempt.folder / "images", device, previous=choice.previous
    )
    fetched = _fetch(attempt, store, prepared)
    sides = {side: sum(e.split == side for e in frozen.examples) for side in ("train", "validation", "test")}
    record.facts |= {"snapshot": frozen.hash, "images": len(frozen.examples), **sides, "fetched": fetched}
    if choice.previous:
        record.facts["previous"] = choice.previous.name
    record.log(
        f"Snapshot {frozen.hash[:12]}: {sides['train']} images to train on, {sides['validation']} to validate"
    )
    return prepared


def _device(task: TrainingTask) -> str:
    """`cuda` when this worker was given a GPU for a task that asked for one."""
    wants_gpu = task.queue != "train"
    return "cuda" if wants_gpu and os.environ.get("CUDA_VISIBLE_DEVICES") else "cpu"


def _snapshot(attempt: Attempt, store: ObjectStore) -> Choice:
    """The snapshot of the first attempt and the model it starts from, or new ones."""
    runtime, task, record = attempt.runtime, attempt.task, attempt.record
    bucket = runtime.settings.s3_bucket
    if task.snapshot:
        record.log(f"Attempt {record.attempt} goes on with snapshot {task.snapshot[:12]}")
        frozen = snapshot.load(runtime.artifacts, bucket, task.snapshot)
        return Choice(frozen, previous.again(attempt))
    _read_labels(attempt)
    record.log("Checking the images that were not checked yet")
    check.check(
        runtime.sessions, store, task.dataset, settings=runtime.settings, progress=lambda *_: _go_on(attempt)
    )
    choice = previous.freeze(attempt)
    runtime.artifacts.ensure_bucket(bucket)
    snapshot.save(runtime.artifacts, bucket, choice.frozen)
    chosen = {"snapshot": choice.frozen.hash}
    if choice.previous:
        chosen |= {"parent": choice.previous.name, "parent_digest": choice.previous.digest}
    with transaction(runtime.sessions) as session:
        records.beat(session, task.id, record.attempt)
        session.execute(update(TrainingTask).where(TrainingTask.id == task.id).values(chosen))
    return choice


def _read_labels(attempt: Attempt) -> None:
    """What people have labelled a moment ago counts; without Label Studio it goes on with what is known."""
    runtime, task, record = attempt.runtime, attempt.task, attempt.record
    with runtime.sessions() as session:
        if labeling.project_of(session, task.dataset_id) is None:
            return
    try:
        counts = reconciling.reconcile(runtime, task.dataset)
        record.log(f"Read the labels from Label Studio: {counts['changed']} have changed")
    except AppError as error:
        record.facts["labels"] = "as last read from Label Studio"
        record.log(f"Label Studio could not be read, so the labels are those of the last reading: {error}")


def _go_on(attempt: Attempt) -> None:
    attempt.record.flush_if_due()
    if attempt.record.nothing_to_keep:
        raise TrainingStopped("nothing was trained yet")


def _fetch(attempt: Attempt, store: ObjectStore, prepared: Prepared) -> int:
    """Bring every image here, a few at a time, but those of an earlier attempt. Answers how many came."""
    prepared.images.mkdir(parents=True, exist_ok=True)
    # Copies are fetched once: two threads must not write the same file.
    by_content = {example.content_hash: example for example in prepared.examples}
    missing = [e for e in by_content.values() if not (prepared.images / e.content_hash).exists()]
    bucket = attempt.task.dataset.bucket
    with ThreadPoolExecutor(_FETCHERS, thread_name_prefix="fetch") as pool:
        running: set[Future[None]] = set()
        try:
            for example in missing:
                running.add(pool.submit(_fetch_one, store, bucket, example, prepared.images))
                if len(running) >= 2 * _FETCHERS:
                    running = _collect(running)
                    _go_on(attempt)
            while running:
                running = _collect(running)
                _go_on(attempt)
        except (AppError, AttemptLost, TrainingStopped, PluginError):
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return len(missing)


def _collect(running: set[Future[None]]) -> set[Future[None]]:
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        future.result()
    return rest


def _fetch_one(store: ObjectStore, bucket: str, example: Example, folder: Path) -> None:
    data = store.read(bucket, example.key, limit=example.size)
    if hashlib.sha256(data).hexdigest() != example.content_hash:
        raise PluginError(
            "image_changed", f"{example.key} changed after the snapshot was frozen; sync and start a new task"
        )
    partial = folder / f"{example.content_hash}.part"
    partial.write_bytes(data)
    partial.replace(folder / example.content_hash)
