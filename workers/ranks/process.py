"""`python -m workers.ranks.process JOB`: one rank of a training; torchrun starts it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
import torch

from backend.logs import configure
from backend.settings import load
from plugins import registry
from plugins.contract import Example, PluginError, Previous, Split, TrainingStopped
from plugins.fitting.ranks import PeerLost, joined
from workers.faults import explain
from workers.parent import die_with_parent
from workers.ranks.job import Job, Wire, draft_to_json

logger = structlog.get_logger()


class LeaderContext:
    """See `plugins.contract.TrainingContext`: the context of the job process, asked over the wire."""

    def __init__(self, job: Job, wire: Wire) -> None:
        self.algorithm, self.labels, self.device = job.algorithm, job.labels, job.device
        self.threads, self.folder = job.threads, job.folder
        self.weights, self.offline = job.weights, job.offline
        self.previous: Previous | None = job.previous
        self.params = registry.parse_params(registry.algorithm(job.algorithm)[1], job.params)
        self._job, self._wire = job, wire

    def examples(self, split: Split) -> Sequence[Example]:
        """The snapshot's examples of one side."""
        return [example for example in self._job.examples if example.split == split]

    def read(self, example: Example) -> bytes:
        """The image's bytes from the local cache."""
        return (self._job.images / example.content_hash).read_bytes()

    def report(self, name: str, value: float, *, epoch: float) -> None:
        """One metric row."""
        self._wire.ask("report", name, value, epoch=epoch)

    def fact(self, name: str, value: Any) -> None:
        """One fact of the running step."""
        self._wire.ask("fact", name, value)

    def log(self, message: str) -> None:
        """One line of the running step's log."""
        self._wire.ask("log", message)

    def should_stop(self) -> bool:
        """Whether to stop and keep the best. When nothing is to be kept, the job process ends this one."""
        return bool(self._wire.ask("should_stop"))

    def stop_requested(self) -> bool:
        """As `should_stop`, whatever the clock says."""
        return bool(self._wire.ask("stop_requested"))

    def time_left(self) -> float:
        """Seconds of the time budget that are left."""
        return float(self._wire.ask("time_left"))

    def checkpoint(self) -> None:
        """Answers when this attempt still owns the task; else the job process ends this one."""
        self._wire.ask("checkpoint")


class FollowerContext(LeaderContext):
    """The context of a rank that only takes part in what the leader decides: it says nothing."""

    def report(self, name: str, value: float, *, epoch: float) -> None:
        """The leader reports."""

    def fact(self, name: str, value: Any) -> None:
        """The leader states the facts."""

    def log(self, message: str) -> None:
        """The leader logs."""

    def should_stop(self) -> bool:
        """The leader stops."""
        return False

    def stop_requested(self) -> bool:
        """The leader stops."""
        return False

    def time_left(self) -> float:
        """The leader watches the clock."""
        return float("inf")

    def checkpoint(self) -> None:
        """The leader writes checkpoints."""


def main(path: Path, rank: int, size: int, restarts: int) -> int:
    """Run the trainer as this rank. The exit status is 0, or 1 when another rank is gone."""
    job = Job.read(path)
    wire = Wire.to(job.address)
    wire.send("hello", rank, restarts)
    try:
        _train(job, wire, rank, size, restarts)
    except PeerLost as error:  # the agent notices, too, and starts all again
        logger.warning("rank_lost_a_peer", rank=rank, reason=str(error))
        return 1
    except EOFError:  # nobody wants an outcome
        return 0
    except TrainingStopped as stop:
        wire.send("stopped", str(stop))
    except PluginError as error:
        wire.send("failed", error.code, str(error))
    except Exception as error:
        code, message = explain(error)
        logger.exception("rank_failed", rank=rank, code=code)
        wire.send("failed", code, message)
    with suppress(EOFError, OSError):
        wire.receive()  # until the job process has taken note
    return 0


def _train(job: Job, wire: Wire, rank: int, size: int, restarts: int) -> None:
    if job.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.set_num_threads(job.threads)
    train = registry.load(job.trainer)
    with joined(job.meeting / f"store-{restarts}", rank, size, job.device) as ranks:
        if not ranks.leads:
            context = FollowerContext(job, wire)
            ranks.follow(lambda: train(context))
            return
        draft = train(LeaderContext(job, wire))
        wire.send("drafted", draft_to_json(draft))
        ranks.dismiss()


if __name__ == "__main__":
    die_with_parent()
    configure(load().log_level)
    _rank, _size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    sys.exit(main(Path(sys.argv[1]), _rank, _size, int(os.environ["TORCHELASTIC_RESTART_COUNT"])))
