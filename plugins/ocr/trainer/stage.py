"""One network's training, done once for all attempts: all of it, or first the layers near its answer."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from plugins import fitting
from plugins.contract import TrainingContext
from plugins.fitting import Fitted, Plan, Work
from plugins.ocr.trainer import freezing

_FROZEN = 0.1  # share of the time in which only the layers near the answer are trained
_CHECKPOINT_SECONDS = 30.0


class Repeating(Work, Protocol):
    """A work that knows how many batches an epoch has."""

    @property
    def steps(self) -> int:
        """Batches of one epoch."""


@dataclass(frozen=True)
class Span:
    """How long: at most so many epochs, and all but `reserve` seconds of what is left of the time budget.
    `frozen`: a tenth of it with only the layers near the answer, for one that has not been trained yet.
    """

    epochs: int
    reserve: float
    frozen: bool = False


def train(context: TrainingContext, name: str, work: Repeating, span: Span) -> Fitted:
    """Fit the work's network, or read what an earlier attempt had fitted; the network then holds the best
    weights, which may be those that it came with. `name` is that of the files and of the fact.
    """
    plan = Plan(
        epochs=span.epochs,
        batches=work.steps,
        reserve=span.reserve,
        seed=context.params.seed,
        checkpoint_seconds=_CHECKPOINT_SECONDS,
        name=name,
        prefix=f"{name}_",
    )
    fitted = _in_two(context, work, plan, span) if span.frozen else _once(context, work, plan)
    work.model.load_state_dict(fitted.best)
    context.fact(f"{name}_epochs", round(fitted.epochs, 2))
    return fitted


def begun(context: TrainingContext, name: str) -> bool:
    """Whether an earlier attempt has fitted this network, or left a checkpoint of it."""
    names = (f"{one}{end}.safetensors" for one in (name, f"{name}-first") for end in ("", "-fitted"))
    return any((context.folder / one).is_file() for one in names)


def fitted_before(context: TrainingContext, name: str) -> Fitted | None:
    """What an earlier attempt had fitted to the end, whatever time is left; None if it had not."""
    first, then = (_read(context, one) for one in (f"{name}-first", name))
    return _better(first, then) if first and then else then


def _in_two(context: TrainingContext, work: Repeating, plan: Plan, span: Span) -> Fitted:
    """With the other layers frozen, then with all of them free."""
    epochs = max(1, round(_FROZEN * span.epochs))
    reserve = _reserve_of_first(context, plan.name, span)
    first = replace(plan, epochs=epochs, reserve=reserve, name=f"{plan.name}-first")
    freezing.freeze(work.model)
    try:
        fitted = _once(context, work, first)
    finally:
        freezing.free(work.model)
    if fitted.ending == "stopped" or span.epochs <= epochs:
        return fitted
    work.model.load_state_dict(fitted.last)
    then = replace(plan, epochs=span.epochs - epochs, seed=plan.seed + 1, before=fitted.epochs)
    return _better(fitted, _once(context, work, then))


def _reserve_of_first(context: TrainingContext, name: str, span: Span) -> float:
    """Seconds of the time budget that are not for the first part, the same in every attempt."""
    left = context.time_left() - span.reserve
    if not math.isfinite(left):
        return span.reserve
    path = context.folder / f"{name}-time.safetensors"
    if not path.is_file():
        reserve = span.reserve + (1 - _FROZEN) * max(left, 0.0)
        context.checkpoint()
        fitting.write_checkpoint(path, {}, {"reserve": reserve})
    return float(fitting.read_checkpoint(path)[1]["reserve"])


def _once(context: TrainingContext, work: Work, plan: Plan) -> Fitted:
    """Fit, unless an earlier attempt came to the end of it."""
    before = _read(context, plan.name)
    if before is not None:
        return before
    fitted = fitting.fit(context, work, plan)
    if fitted.ending != "stopped":
        record = {key: getattr(fitted, key) for key in ("score", "best_epoch", "epochs", "ending")}
        tensors = {f"best.{name}": value for name, value in fitted.best.items()}
        tensors |= {f"last.{name}": value for name, value in fitted.last.items()}
        context.checkpoint()
        fitting.write_checkpoint(_path(context, plan.name), tensors, record)
    return fitted


def _read(context: TrainingContext, name: str) -> Fitted | None:
    path = _path(context, name)
    if not path.is_file():
        return None
    tensors, record = fitting.read_checkpoint(path)
    return Fitted(fitting.part(tensors, "best."), fitting.part(tensors, "last."), **record)


def _path(context: TrainingContext, name: str) -> Path:
    return context.folder / f"{name}-fitted.safetensors"


def _better(first: Fitted, second: Fitted) -> Fitted:
    """The second with the best weights of both."""
    epochs = first.epochs + second.epochs
    if first.score > second.score:
        return Fitted(first.best, second.last, first.score, first.best_epoch, epochs, second.ending)
    best_epoch = first.epochs + second.best_epoch
    return Fitted(second.best, second.last, second.score, best_epoch, epochs, second.ending)
