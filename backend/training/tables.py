"""Tables of training tasks: the task, its events, steps, log lines and metric rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.datasets.tables import Dataset
from backend.db import Base, now


class TrainingTask(Base):
    """One run of training. `state` is changed by `lifecycle.advance` alone.

    `attempt` is the fencing number: it grows each time a worker takes the task, and whoever writes names the
    attempt it belongs to. `stop` is empty, `keep` or `discard`. Times in seconds. `start_from` is what was
    asked for: `current`, `scratch` or a model's name; `parent` and `parent_digest` name the model that was
    chosen together with the snapshot, for all attempts.
    """

    __tablename__ = "training_tasks"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[int] = mapped_column(ForeignKey("workspaces.id"))
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    name: Mapped[str] = mapped_column(String(30))
    description: Mapped[str] = mapped_column(String(1000), default="")
    algorithm: Mapped[str] = mapped_column(String(60))
    parameters: Mapped[dict[str, Any]]
    labels: Mapped[list[str]]
    gpus: Mapped[int] = mapped_column(default=0)
    gpu_type: Mapped[str] = mapped_column(String(60), default="")
    queue: Mapped[str] = mapped_column(String(80))
    time_budget: Mapped[int]
    state: Mapped[str] = mapped_column(String(12), default="queued", index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    stop: Mapped[str] = mapped_column(String(10), default="")
    trained_seconds: Mapped[float] = mapped_column(default=0.0)
    snapshot: Mapped[str] = mapped_column(String(64), default="")
    start_from: Mapped[str] = mapped_column(String(30), default="current")
    parent: Mapped[str] = mapped_column(String(30), default="")
    parent_digest: Mapped[str] = mapped_column(String(64), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    error_code: Mapped[str] = mapped_column(String(40), default="")
    error: Mapped[str] = mapped_column(Text, default="")
    worker: Mapped[str] = mapped_column(String(200), default="")
    heartbeat_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    dataset: Mapped[Dataset] = relationship()


class TaskEvent(Base):
    """One change of state, with its reason."""

    __tablename__ = "task_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("training_tasks.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    attempt: Mapped[int]
    old: Mapped[str] = mapped_column(String(12))
    new: Mapped[str] = mapped_column(String(12))
    reason: Mapped[str] = mapped_column(Text, default="")


class TaskStep(Base):
    """One node of a task: prepare, train, evaluate or export, of its newest attempt.

    `state` is waiting, running, succeeded, failed or stopped.
    """

    __tablename__ = "task_steps"
    __table_args__ = (UniqueConstraint("task_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("training_tasks.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(10))
    state: Mapped[str] = mapped_column(String(10), default="waiting")
    facts: Mapped[dict[str, Any]] = mapped_column(default=dict)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class TaskLog(Base):
    """One line of a step's log."""

    __tablename__ = "task_logs"
    __table_args__ = (Index("ix_task_logs_task_id_id", "task_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("training_tasks.id", ondelete="CASCADE"))
    step: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime] = mapped_column(default=now)
    message: Mapped[str] = mapped_column(Text)


class TaskMetric(Base):
    """One number of one moment: every chart and comparison reads these rows."""

    __tablename__ = "task_metrics"
    __table_args__ = (Index("ix_task_metrics_task_id_id", "task_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    task_id: Mapped[int] = mapped_column(ForeignKey("training_tasks.id", ondelete="CASCADE"))
    attempt: Mapped[int]
    step: Mapped[str] = mapped_column(String(10))
    epoch: Mapped[float]
    name: Mapped[str] = mapped_column(String(60))
    value: Mapped[float]
    at: Mapped[datetime] = mapped_column(default=now)
