"""The one training loop. A plugin supplies the network, data, loss, score and optimiser (`Work`); the rest is
here: learning rate, averaging of the weights, progress, stop, time budget, checkpoint and resume, and the
guard against a loss that is not a number.

A checkpoint is one safetensors file whose header carries a JSON record, written under another name and then
renamed: a killed process leaves either the old one or the new one. Every random number of a step derives from
(seed, step), so a resumed run continues as the one that was cut off would have.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from plugins.contract import PluginError, TrainingContext

Weights = dict[str, Tensor]
Ending = Literal["finished", "no longer improving", "stopped"]

_ROLL_BACKS = 3
_LIVELY_SECONDS = 5.0  # between two reports inside one epoch


@dataclass(frozen=True)
class Score:
    """How good a network is on validation: `value` ranks (higher is better), `rows` are reported."""

    value: float
    rows: Mapping[str, float] = field(default_factory=dict)


class Work(Protocol):
    """What a plugin supplies."""

    @property
    def model(self) -> nn.Module:
        """The network, on its device."""

    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimiser whose groups carry their highest learning rate."""

    def batches(self, epoch: int, first: int) -> Iterator[Sized]:
        """The epoch's batches from number `first` on, the same ones whenever asked; `len` counts images."""

    def loss(self, batch: Any) -> Tensor:
        """The mean loss of a batch: a scalar."""

    def score(self, model: nn.Module) -> Score:
        """Judge this network (the average of the weights), which stands in evaluation mode."""


@dataclass(frozen=True)
class Plan:
    """How long and how. `warmup` and `final_rate` are shares of all steps and of the highest learning rate;
    `reserve` are seconds of the time budget left to the caller; `patience` counts epochs without a better
    score.
    """

    epochs: int
    batches: int
    warmup: float = 0.05
    final_rate: float = 0.01
    average: float = 0.99
    clip: float = 5.0
    patience: int | None = None
    reserve: float = 0.0
    seed: int = 0
    checkpoint_seconds: float = 15.0


@dataclass(frozen=True)
class Fitted:
    """The weights with the best score, those of the end, and how it went. `score` is that of `best`."""

    best: Weights
    last: Weights
    score: float
    best_epoch: float
    epochs: float
    ending: Ending


def fit(context: TrainingContext, work: Work, plan: Plan) -> Fitted:
    """Train until the plan or the time is over or the user stops; continue from a checkpoint if there is one.

    The start counts as a candidate for the best. Raises `PluginError` (`loss_not_finite`, `disk_full`) and
    whatever the context raises to end the work.
    """
    run = _Run(context, work, plan)
    run.resume()
    ending = run.train()
    return Fitted(run.best, run.average_weights(), run.best_score, run.best_epoch, run.done, ending)


def autocast(device: str) -> torch.autocast:
    """Half precision where it is faster: on GPUs that know bfloat16. On CPUs it is left off: without matrix
    units for it a training step took 10 times longer, and float32 with folded normalisation is fast.
    """
    helps = device == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device, torch.bfloat16, enabled=helps)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when complete.

    Raises `PluginError` (`disk_full`); on any fault nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PluginError("disk_full", f"no space left on the disk while writing {path.name}") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


class _NotFinite(Exception):
    """The loss or the score is not a number."""


class _Run:
    """One training, from its first step or a checkpoint to its end."""

    def __init__(self, context: TrainingContext, work: Work, plan: Plan) -> None:
        self.context, self.work, self.plan = context, work, plan
        self.model, self.optimizer = work.model, work.optimizer()
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = AveragedModel(self.model, multi_avg_fn=self._follow)
        self.precision = autocast(context.device)
        self.path = context.folder / "checkpoint.safetensors"
        self.budget = context.time_left() - plan.reserve
        self.epoch = self.batch = self.roll_backs = 0
        self.best: Weights = {}
        self.best_score, self.best_epoch, self.last_saved = -math.inf, 0.0, time.monotonic()

    @property
    def done(self) -> float:
        """Epochs done, with the share of the one that runs."""
        return self.epoch + self.batch / self.plan.batches

    def average_weights(self) -> Weights:
        """A copy of the averaged weights."""
        return {name: value.detach().clone() for name, value in self.average.module.state_dict().items()}

    def train(self) -> Ending:
        """Epoch after epoch; a loss that is not a number goes back to the last good state, slower."""
        while self.epoch < self.plan.epochs and self._progress() < 1:
            try:
                ending = self._one_epoch()
            except _NotFinite:
                self._roll_back()
                continue
            if ending is not None:
                return ending
        return "finished"

    def _one_epoch(self) -> Ending | None:
        self.model.train()
        started = reported = time.monotonic()
        losses, images = [], 0
        for batch in self.work.batches(self.epoch, self.batch):
            losses.append(self._step(batch))
            images += len(batch)
            self.batch += 1
            if self.context.should_stop():
                return "stopped"
            if self._progress() >= 1:
                break
            if time.monotonic() - reported > _LIVELY_SECONDS:
                reported = time.monotonic()
                self._report({"loss": losses[-1]})
            if self.batch < self.plan.batches:  # only inside epochs that take minutes
                self._save_if_due(4 * self.plan.checkpoint_seconds)
        self.epoch, self.batch = self.epoch + 1, 0
        speed = images / max(time.monotonic() - started, 1e-9)
        self._end_epoch({"loss": sum(losses) / max(len(losses), 1), "images_per_second": speed})
        return self._no_longer_improving()

    def _end_epoch(self, rows: Mapping[str, float]) -> None:
        score = self._score()
        rate = self.optimizer.param_groups[-1]["lr"]
        told = {**rows, **score.rows}
        words = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in told.items())
        self.context.log(f"Epoch {self.epoch} of {self.plan.epochs}: {words}.")
        self._report({**told, "learning_rate": rate, "time_left": self.context.time_left()})
        self.good = self._collect()
        self._save_if_due(self.plan.checkpoint_seconds)

    def _no_longer_improving(self) -> Ending | None:
        patience = self.plan.patience
        worn_out = patience is not None and self.epoch - self.best_epoch > patience
        return "no longer improving" if worn_out else None

    def _step(self, batch: Any) -> float:
        step = self.epoch * self.plan.batches + self.batch
        torch.manual_seed(self.plan.seed * 1_000_003 + step)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._rate_share() * 0.5**self.roll_backs
        with self.precision:
            loss = self.work.loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _NotFinite
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return value

    def _progress(self) -> float:
        """From 0 to 1: the share of the steps or of the time that is used, whichever is more."""
        used = self.budget - (self.context.time_left() - self.plan.reserve)
        by_time = used / self.budget if 0 < self.budget < math.inf else float(self.budget <= 0)
        return max(self.done / self.plan.epochs, by_time)

    def _rate_share(self) -> float:
        """Share of the highest learning rate: a linear rise, then half a cosine."""
        progress, warmup = min(self._progress(), 1.0), self.plan.warmup
        first = 1 / (self.plan.epochs * self.plan.batches)  # the first step shall learn something, too
        rise = max(progress, first) / warmup if warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return min(rise, 1.0) * (self.plan.final_rate + (1 - self.plan.final_rate) * cosine)

    def _follow(self, average: Any, current: Any, count: Tensor | int) -> None:
        """Move the averages; early on by more, or they would remember the start for too long."""
        decay = min(self.plan.average, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, 1 - decay)

    def _score(self) -> Score:
        """Judge the averaged weights and keep them if they are the best so far."""
        self.average.module.eval()
        with torch.no_grad(), self.precision:
            score = self.work.score(self.average.module)
        if not math.isfinite(score.value):
            raise _NotFinite
        if score.value > self.best_score:
            self.best, self.best_score, self.best_epoch = self.average_weights(), score.value, self.done
        return score

    def _report(self, rows: Mapping[str, float]) -> None:
        for name, value in rows.items():
            if math.isfinite(value):
                self.context.report(name, value, epoch=self.done)

    def _roll_back(self) -> None:
        self.roll_backs += 1
        if self.roll_backs > _ROLL_BACKS:
            raise PluginError(
                "loss_not_finite",
                "training diverged: the loss stopped being a number. Try again with a lower learning rate.",
            )
        self.context.log("The loss stopped being a number; going back and on at half the learning rate.")
        roll_backs = self.roll_backs
        self._restore(*self.good)
        self.roll_backs = roll_backs

    def resume(self) -> None:
        """Continue from the checkpoint, or score the start."""
        try:
            tensors, record = read_checkpoint(self.path)
            self._restore(tensors, record)
            self.context.log(f"Continuing after {self.done:.1f} of {self.plan.epochs} epochs.")
        except FileNotFoundError:
            self._score_start()
        except (ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            self.context.log(f"The checkpoint does not fit and is not used: {error}")
            self._score_start()
        self.good = self._collect()

    def _score_start(self) -> None:
        try:
            self._score()
        except _NotFinite:
            raise PluginError("loss_not_finite", "the network's answers are not numbers") from None

    def _collect(self) -> tuple[Weights, dict[str, Any]]:
        """Everything that a continuation needs, copied."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        tensors = {name: value.detach().clone() for name, value in tensors.items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        names = ("epoch", "batch", "roll_backs", "best_score", "best_epoch")
        record = {name: getattr(self, name) for name in names}
        return tensors, record | {"budget": self.budget if math.isfinite(self.budget) else None}

    def _restore(self, tensors: Weights, record: Mapping[str, Any]) -> None:
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in _part(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = value.clone()
        self.model.load_state_dict(_part(tensors, "model."))
        self.average.load_state_dict(_part(tensors, "average."))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.best = _part(tensors, "best.")
        self.epoch, self.batch, self.roll_backs = record["epoch"], record["batch"], record["roll_backs"]
        self.best_score, self.best_epoch = record["best_score"], record["best_epoch"]
        self.budget = math.inf if record["budget"] is None else record["budget"]

    def _save_if_due(self, seconds: float) -> None:
        if time.monotonic() - self.last_saved < seconds:
            return
        self.context.checkpoint()
        write_checkpoint(self.path, *self._collect())
        self.last_saved = time.monotonic()


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON record as one file. Raises `PluginError` (`disk_full`)."""
    plain = {name: value.contiguous() for name, value in tensors.items()}
    data = safetensors.torch.save(plain, {"record": json.dumps(dict(record), allow_nan=False)})
    with whole_file(path) as stream:
        stream.write(data)


def read_checkpoint(path: Path) -> tuple[Weights, dict[str, Any]]:
    """What `write_checkpoint` wrote. Raises `FileNotFoundError`, `ValueError` or `SafetensorError`."""
    with safetensors.safe_open(path, "pt") as opened:
        record = json.loads((opened.metadata() or {}).get("record", "null"))
        if not isinstance(record, dict):
            raise ValueError(f"{path.name} has no record")
        return {name: opened.get_tensor(name) for name in opened.keys()}, record  # noqa: SIM118


def _part(tensors: Mapping[str, Tensor], prefix: str) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
