"""From the first step, or from a checkpoint, to the end.

Every random number of a step derives from (seed, step, process), so a resumed run continues as the one that
was cut off would have.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from plugins.contract import PluginError, TrainingContext
from plugins.fitting.checkpoint import Weights, from_bytes, part, read_checkpoint, to_bytes, write_checkpoint
from plugins.fitting.precision import precision_of
from plugins.fitting.ranks import Ranks, Step, here
from plugins.fitting.work import Ending, Fitted, Plan, Score, Work

_ROLL_BACKS = 3
_LIVELY_SECONDS = 5.0  # between two reports inside one epoch
_SEEDS_OF_A_PROCESS = 2**40


def fit(context: TrainingContext, work: Work, plan: Plan) -> Fitted:
    """Train until the plan or the time is over or the user stops; continue from a checkpoint if there is one.

    The start counts as a candidate for the best. Raises `PluginError` (`loss_not_finite`, `disk_full`) and
    whatever the context raises to end the work; with several processes also what `plugins.fitting.ranks`
    raises.
    """
    ranks = here()
    if ranks.passes_by(plan):
        run = _Run(context, work, plan, ranks)
        run.restore(*read_checkpoint(run.path))
        return run.fitted("finished")
    run = _Run(context, work, ranks.enter(plan), ranks)
    with ranks.working_together():
        run.resume()
        ending = run.train()
        if ranks.leads and ranks.size > 1:  # where the others find it on their way to the next fit
            run.save()
    ranks.leave()
    return run.fitted(ending)


class _NotFinite(Exception):
    """The loss or the score is not a number."""


class _Run:
    """One training, from its first step or a checkpoint to its end.

    In every process all of it is the same, but the clock, the best weights and the files are the leader's.
    """

    def __init__(self, context: TrainingContext, work: Work, plan: Plan, ranks: Ranks) -> None:
        self.context, self.work, self.plan, self.ranks = context, work, plan, ranks
        self.model, self.optimizer = work.model, work.optimizer()
        self.parameters = [one for one in self.model.parameters() if one.requires_grad]
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.average = AveragedModel(self.model, multi_avg_fn=self._follow)
        self.precision = precision_of(context.device)
        self.scaler = self.precision.scaler()
        self.path = context.folder / f"{plan.name}.safetensors"
        self.budget = context.time_left() - plan.reserve
        self.epoch = self.batch = self.roll_backs = 0
        self.progress = 0.0
        self.best: Weights = {}
        self.best_score, self.best_epoch, self.last_saved = -math.inf, 0.0, time.monotonic()

    @property
    def done(self) -> float:
        """Epochs done, with the share of the one that runs."""
        return self.epoch + self.batch / self.plan.batches

    def fitted(self, ending: Ending) -> Fitted:
        """The result."""
        return Fitted(self.best, self._average_weights(), self.best_score, self.best_epoch, self.done, ending)

    def _average_weights(self) -> Weights:
        return {name: value.detach().clone() for name, value in self.average.module.state_dict().items()}

    def train(self) -> Ending:
        """Epoch after epoch; a loss that is not a number goes back to the last good state, slower."""
        while self.epoch < self.plan.epochs and self.progress < 1:
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
        started = self.reported = time.monotonic()
        losses, images = [], 0
        for batch in self.work.batches(self.epoch, self.batch, self.ranks.share):
            step = self._step(batch)
            losses.append(step.loss)
            images += step.images
            if step.stop:
                return "stopped"
            if self.progress >= 1:
                break
            self._within_epoch(step.loss, images / max(time.monotonic() - started, 1e-9))
        if self.batch >= self.plan.batches or self.progress < 1:  # else the time was over within it
            self.epoch, self.batch = self.epoch + 1, 0
        speed = images / max(time.monotonic() - started, 1e-9)
        self._end_epoch({"loss": sum(losses) / max(len(losses), 1), "images_per_second": speed})
        return self._no_longer_improving()

    def _within_epoch(self, loss: float, speed: float) -> None:
        """Signs of life in epochs that take minutes."""
        if time.monotonic() - self.reported > _LIVELY_SECONDS:
            self.reported = time.monotonic()
            self._report({"loss": loss, "images_per_second": speed, **self._standing()})
        if self.batch < self.plan.batches:
            self._save_if_due(4 * self.plan.checkpoint_seconds)

    def _end_epoch(self, rows: Mapping[str, float]) -> None:
        score = self._score()
        if score is not None:
            told = {**rows, **score.rows}
            words = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in told.items())
            whose = self.plan.prefix.replace("_", " ")
            self.context.log(f"Epoch {round(self.done, 1):g} of {self.plan.epochs}: {whose}{words}.")
            self._report({**told, **self._standing()})
        self.good = self._collect()
        self._save_if_due(self.plan.checkpoint_seconds)
        self._agree()

    def _standing(self) -> dict[str, float]:
        rate = self.optimizer.param_groups[-1]["lr"]
        return {"learning_rate": rate, "time_left": self.context.time_left()}

    def _no_longer_improving(self) -> Ending | None:
        patience = self.plan.patience
        worn_out = patience is not None and self.epoch - self.best_epoch > patience
        return "no longer improving" if worn_out else None

    def _step(self, batch: Any) -> Step:
        step = self.epoch * self.plan.batches + self.batch
        torch.manual_seed(self.plan.seed * 1_000_003 + step + self.ranks.rank * _SEEDS_OF_A_PROCESS)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self._rate_share() * 0.5**self.roll_backs
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(batch) if len(batch) else 0.0
        self.batch += 1
        stop = self.ranks.leads and self.context.should_stop()
        told = self.ranks.combine(self.parameters, Step(loss, len(batch), stop, self._measure()))
        if not math.isfinite(told.loss):
            raise _NotFinite
        self.progress = told.progress
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)
        self.scaler.step(self.optimizer)  # not if the scaled gradients were too large for float16
        self.scaler.update()
        self.average.update_parameters(self.model)
        return told

    def _backward(self, batch: Any) -> float:
        with self.precision.autocast():
            loss = self.work.loss(batch)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _agree(self) -> None:
        """All go by the leader's clock."""
        self.progress = self.ranks.tell(self._measure())

    def _measure(self) -> float:
        """From 0 to 1: the share of the steps or of the time that is used, whichever is more."""
        used = self.budget - (self.context.time_left() - self.plan.reserve) if self.ranks.leads else 0.0
        by_time = used / self.budget if 0 < self.budget < math.inf else float(self.budget <= 0)
        return max(self.done / self.plan.epochs, by_time)

    def _rate_share(self) -> float:
        """Share of the highest learning rate: a linear rise, then half a cosine."""
        progress, warmup = min(self.progress, 1.0), self.plan.warmup
        first = 1 / (self.plan.epochs * self.plan.batches)  # the first step shall learn something, too
        rise = max(progress, first) / warmup if warmup else 1.0
        cosine = 0.5 * (1 + math.cos(math.pi * progress))
        return min(rise, 1.0) * (self.plan.final_rate + (1 - self.plan.final_rate) * cosine)

    def _follow(self, average: Any, current: Any, count: Tensor | int) -> None:
        """Move the averages; early on by more, or they would remember the start for too long."""
        decay = min(self.plan.average, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(average, current, 1 - decay)

    def _score(self) -> Score | None:
        """Judge the averaged weights and keep them if they are the best so far; the leader does, and all know
        how good the best is.
        """
        score = self._judge() if self.ranks.leads else None
        told = self.ranks.tell(
            [score is None or math.isfinite(score.value), self.best_score, self.best_epoch]
        )
        finite, self.best_score, self.best_epoch = told
        if not finite:
            raise _NotFinite
        return score

    def _judge(self) -> Score:
        self.average.module.eval()
        with torch.no_grad(), self.precision.autocast(), self.ranks.working_alone():
            score = self.work.score(self.average.module)
        if math.isfinite(score.value) and score.value > self.best_score:
            self.best, self.best_score, self.best_epoch = self._average_weights(), score.value, self.done
        return score

    def _report(self, rows: Mapping[str, float]) -> None:
        if not self.ranks.leads:
            return
        for name, value in rows.items():
            if math.isfinite(value):
                epoch = self.plan.before + self.done
                self.context.report(f"{self.plan.prefix}{name}", value, epoch=epoch)

    def _roll_back(self) -> None:
        self.roll_backs += 1
        if self.roll_backs > _ROLL_BACKS:
            raise PluginError(
                "loss_not_finite",
                "training diverged: the loss stopped being a number. Try again with a lower learning rate.",
            )
        self.context.log("The loss stopped being a number; going back and on at half the learning rate.")
        roll_backs = self.roll_backs
        self.restore(*self.good)
        self.roll_backs = roll_backs
        self._agree()

    def resume(self) -> None:
        """Continue from the checkpoint, or score the start. All processes begin with the leader's state."""
        if not self.ranks.leads:
            self.restore(*from_bytes(self.ranks.spread(b"")))
        else:
            self._continue_or_start()
            if self.ranks.size > 1:
                self.ranks.spread(to_bytes(*self._collect()))
        self.good = self._collect()
        self._agree()

    def _continue_or_start(self) -> None:
        try:
            self.restore(*read_checkpoint(self.path))
            self.context.log(f"Continuing after {self.done:.1f} of {self.plan.epochs} epochs.")
        except FileNotFoundError:
            self._score_start()
        except (ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            self.context.log(f"The checkpoint does not fit and is not used: {error}")
            self._score_start()

    def _score_start(self) -> None:
        if not math.isfinite(self._judge().value):
            raise PluginError("loss_not_finite", "the network's answers are not numbers")

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
        budget = self.budget if math.isfinite(self.budget) else None
        return tensors, record | {"budget": budget, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: Weights, record: Mapping[str, Any]) -> None:
        """Go on from what `_collect` gave."""
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "optimizer.").items():
            index, _, key = name.partition(".")
            states.setdefault(int(index), {})[key] = value.clone()
        self.model.load_state_dict(part(tensors, "model."))
        self.average.load_state_dict(part(tensors, "average."))
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.best = part(tensors, "best.")
        self.epoch, self.batch, self.roll_backs = record["epoch"], record["batch"], record["roll_backs"]
        self.best_score, self.best_epoch = record["best_score"], record["best_epoch"]
        self.budget = math.inf if record["budget"] is None else record["budget"]
        if record.get("scaler"):  # empty where nothing is scaled
            self.scaler.load_state_dict(record["scaler"])

    def _save_if_due(self, seconds: float) -> None:
        if self.ranks.leads and time.monotonic() - self.last_saved >= seconds:
            self.save()

    def save(self) -> None:
        """Write the checkpoint."""
        self.context.checkpoint()
        write_checkpoint(self.path, *self._collect())
        self.last_saved = time.monotonic()
