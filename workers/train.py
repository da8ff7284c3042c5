"""The job that runs one training task: prepare, train, evaluate, export.

It may be queued twice (the second finds the task taken and leaves) and killed at any moment (the task goes
back to the queue and the next attempt goes on from what lies in its folder).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.orm import Session

from backend.db import transaction
from backend.errors import AppError
from backend.label_studio.following import follow
from backend.models import removal
from backend.queue import RUN_TRAINING
from backend.runtime import Runtime
from backend.training import records
from backend.training import registry as tasks
from backend.training.lifecycle import TaskState, advance
from backend.training.tables import TrainingTask
from plugins import registry
from plugins.contract import Algorithm, AttemptLost, Draft, Plugin, PluginError, TrainingStopped
from workers import evaluate, export, prepare
from workers.context import Context, Record
from workers.faults import explain
from workers.gpus import visible
from workers.heart import Heart
from workers.process import identity, process_runtime
from workers.ranks import launch
from workers.scratch import claim, forget, task_folder

logger = structlog.get_logger()
_BEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Attempt:
    """One attempt at one task, with what every step needs."""

    runtime: Runtime
    task: TrainingTask
    plugin: Plugin
    algorithm: Algorithm
    record: Record
    folder: Path

    def enter(self, step: str, old: TaskState, new: TaskState) -> None:
        """Begin a step and move the task on; a task that is stopping stays in that state.

        Raises `AttemptLost`, and `TrainingStopped` when nothing is to be kept.
        """
        with transaction(self.runtime.sessions) as session:
            advance(session, self.task.id, old, new, attempt=self.record.attempt)
        self.record.start_step(step)
        self.record.flush()
        if self.record.nothing_to_keep:
            raise TrainingStopped("nothing is kept")


def run(task_id: int) -> None:
    """What the queue calls."""
    execute(process_runtime(), task_id)


def execute(runtime: Runtime, task_id: int) -> None:
    """Take the task and bring it to an end; returns without a word when another worker has it."""
    attempt = _take(runtime, task_id)
    if attempt is None:
        return
    structlog.contextvars.bind_contextvars(task=attempt.task.name, attempt=attempt.record.attempt)
    heart = Heart(attempt.record.flush, lost=AttemptLost, seconds=_BEAT_SECONDS)
    heart.start()
    try:
        _steps(attempt)
    except AttemptLost:
        logger.warning("attempt_lost", function=RUN_TRAINING)
        return
    except TrainingStopped as stop:
        _finish_stopped(attempt, str(stop))
    except PluginError as error:
        _finish_failed(attempt, error.code, str(error))
    except AppError as error:
        _finish_failed(attempt, error.code, str(error))
    except Exception as error:
        code, message = explain(error)
        logger.exception("training_failed", code=code)
        _finish_failed(attempt, code, message)
    finally:
        heart.end()
        structlog.contextvars.clear_contextvars()
    forget(runtime.settings, task_id)


def _take(runtime: Runtime, task_id: int) -> Attempt | None:
    with transaction(runtime.sessions) as session:
        if not advance(session, task_id, TaskState.QUEUED, TaskState.PREPARING):
            return None
        task = session.get_one(TrainingTask, task_id)
        # Asked for before this attempt, which makes a model of what the former ones have learned.
        if task.stop:
            advance(session, task_id, TaskState.PREPARING, TaskState.STOPPING, attempt=task.attempt)
        task.worker = identity()
        task.started_at = task.started_at or task.heartbeat_at
        session.flush()
        session.refresh(task, ["dataset"])
    plugin, algorithm = registry.algorithm(task.algorithm)
    record = Record(runtime.sessions, task.id, task.attempt, trained_before=task.trained_seconds)
    return Attempt(runtime, task, plugin, algorithm, record, task_folder(runtime.settings, task_id))


def _steps(attempt: Attempt) -> None:
    attempt.record.start_step("prepare")
    claim(attempt.runtime.settings, attempt.task.id, first=attempt.record.attempt == 1)
    prepared = prepare.prepare(attempt)
    attempt.record.end_step("succeeded")

    attempt.enter("train", TaskState.PREPARING, TaskState.TRAINING)
    context = Context(
        algorithm=attempt.algorithm.name,
        params=registry.parse_params(attempt.algorithm, attempt.task.parameters),
        labels=tuple(attempt.task.labels),
        device=prepared.device,
        threads=attempt.runtime.settings.cpu_threads,
        folder=attempt.folder / "training",
        time_budget=float(attempt.task.time_budget),
        record=attempt.record,
        snapshot=prepared.examples,
        reader=prepared.read,
        previous=prepared.previous,
        weights=attempt.runtime.settings.weights,
        offline=attempt.runtime.settings.offline,
    )
    context.folder.mkdir(parents=True, exist_ok=True)
    draft = _train(attempt, context, prepared)
    attempt.record.end_step("succeeded")

    attempt.enter("evaluate", TaskState.TRAINING, TaskState.EVALUATING)
    judged = evaluate.judge(attempt, prepared, draft)
    attempt.record.end_step("succeeded")

    attempt.enter("export", TaskState.EVALUATING, TaskState.EXPORTING)
    exported = export.export(attempt, prepared, draft, judged)
    attempt.record.end_step("succeeded")
    _finish(attempt, exported)


def _train(attempt: Attempt, context: Context, prepared: prepare.Prepared) -> Draft:
    """In this process, or shared by several."""
    processes = _processes(attempt, prepared.device)
    context.fact("processes", processes)
    if processes > 1:
        return launch.train(attempt.plugin.trainer, context, prepared.images, processes)
    draft: Draft = registry.load(attempt.plugin.trainer)(context)
    return draft


def _processes(attempt: Attempt, device: str) -> int:
    """One a GPU; on the CPU what the settings say."""
    if device != "cuda":
        return attempt.runtime.settings.train_processes
    wanted = max(1, attempt.task.gpus)
    given = min(wanted, visible())
    if given < wanted:
        attempt.record.log(f"{wanted} GPUs were asked for and this worker has {given}")
    return given


def _finish(attempt: Attempt, exported: export.Exported) -> None:
    """The model row and the final state appear together, or not at all. Raises `AttemptLost`, and
    `TrainingStopped` when somebody has asked meanwhile to keep nothing.
    """
    with transaction(attempt.runtime.sessions) as session:
        kept = records.beat(session, attempt.task.id, attempt.record.attempt) != "discard"
        if kept:
            _register(session, attempt, exported)
        else:
            removal.note(session, exported.manifest.digest)
    if not kept:
        removal.sweep(attempt.runtime)
        attempt.record.flush()  # which learns of the stop
        raise TrainingStopped("nothing is kept")
    _prelabel(attempt)


def _register(session: Session, attempt: Attempt, exported: export.Exported) -> None:
    """The caller commits. Raises `AttemptLost`."""
    model = export.register(session, attempt, exported)
    task, number = attempt.task.id, attempt.record.attempt
    for old, new in ((TaskState.EXPORTING, TaskState.SUCCEEDED), (TaskState.STOPPING, TaskState.STOPPED)):
        if advance(session, task, old, new, reason=f"model {model.name} registered", attempt=number):
            return
    raise AttemptLost(f"attempt {number} no longer owns task {task}")


def _prelabel(attempt: Attempt) -> None:
    """Label Studio moves to the new model if it is the dataset's current one now. The training has succeeded
    whatever comes of that; a reconcile catches up.
    """
    try:
        follow(attempt.runtime, attempt.task.dataset_id)
    except Exception:
        logger.warning("prelabel_not_started", exc_info=True)


def _finish_stopped(attempt: Attempt, reason: str) -> None:
    if not attempt.record.stop:  # the trainer gave up on its own: its time was over before it had a model
        _finish_failed(attempt, "time_budget_too_short", f"{reason}; give it a longer --time-budget")
        return
    try:
        attempt.record.log(f"Stopped: {reason}")
        attempt.record.end_step("stopped")
    except AttemptLost:
        return
    with transaction(attempt.runtime.sessions) as session:
        advance(
            session,
            attempt.task.id,
            TaskState.STOPPING,
            TaskState.STOPPED,
            reason=reason,
            attempt=attempt.record.attempt,
        )


def _finish_failed(attempt: Attempt, code: str, message: str) -> None:
    try:
        attempt.record.log(f"Failed ({code}): {message}")
        attempt.record.end_step("failed")
    except AttemptLost:
        return
    with transaction(attempt.runtime.sessions) as session:
        task = session.get_one(TrainingTask, attempt.task.id)
        tasks.fail(session, task, code, message, attempt=attempt.record.attempt)
