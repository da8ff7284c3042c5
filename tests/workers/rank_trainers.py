"""Small trainers that the ranks of a training import by name. They log what the tests look at."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from plugins.contract import Draft, PluginError, TrainingContext, TrainingStopped
from plugins.fitting import Fitted, Plan, Score, Share, fit
from plugins.fitting.ranks import here

PLAN = Plan(epochs=6, batches=4, average=0.5, checkpoint_seconds=0)
_SIZES = (8, 7, 5, 1)  # the last one leaves nothing for the second of two processes


class Line(nn.Module):
    """Learn y = 3 x - 1, and nothing about a frozen and an idle parameter. In the last process the loss of
    the batch `odd` (epoch and number) is no number, once.
    """

    def __init__(self, odd: tuple[int, int] | None = None) -> None:
        super().__init__()
        torch.manual_seed(here().rank)  # the processes begin apart, and the leader's state is taken
        self.line, self.frozen, self.idle = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
        self.frozen.requires_grad_(False)
        self.at, self.odd = (0, 0), odd

    @property
    def model(self) -> nn.Module:
        return self

    def optimizer(self) -> torch.optim.Optimizer:
        trained = [one for one in self.parameters() if one.requires_grad]
        return torch.optim.AdamW(trained, lr=0.05, weight_decay=0.1, fused=True)

    def batches(self, epoch: int, first: int, share: Share) -> Iterator[Any]:
        for number in range(first, PLAN.batches):
            self.at = (epoch, number)
            random = torch.Generator().manual_seed(1000 * epoch + number)
            yield share.of(torch.rand(_SIZES[number], 1, generator=random).numpy())

    def forward(self, x: Tensor) -> Tensor:
        difference: Tensor = self.line(x) - (3 * x - 1)
        return difference.square().mean()

    def loss(self, batch: Any) -> Tensor:
        loss = self.forward(torch.from_numpy(batch))
        if self.at == self.odd and here().rank == here().size - 1:
            self.odd = None
            return loss * torch.nan
        return loss

    def score(self, model: nn.Module) -> Score:
        return Score(-float(model(torch.linspace(0, 1, 8)[:, None])))


def draft(context: TrainingContext, *fitted: Fitted) -> Draft:
    """The weights of the end as facts."""
    weights = [{name: value.flatten().tolist() for name, value in one.last.items()} for one in fitted]
    facts = {"weights": weights, "scores": [one.score for one in fitted], "threads": torch.get_num_threads()}
    return Draft(context.folder, {}, {}, facts)


def plain(context: TrainingContext) -> Draft:
    return draft(context, fit(context, Line(), PLAN))


def twice(context: TrainingContext) -> Draft:
    """Two fits, the second from the end of the first; one loss of the first is no number."""
    first = fit(context, Line(odd=(2, 1)), PLAN)
    work = Line()
    work.load_state_dict(first.last)
    return draft(context, first, fit(context, work, replace(PLAN, name="second", seed=1)))


def hit(context: TrainingContext) -> Draft:
    """The second process is killed in the third epoch, once."""

    class Hit(Line):
        def batches(self, epoch: int, first: int, share: Share) -> Iterator[Any]:
            mark = context.folder / "hit"
            if epoch == 2 and share.rank == 1 and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().batches(epoch, first, share)

    return draft(context, fit(context, Hit(), PLAN))


def hit_always(context: TrainingContext) -> Draft:
    if here().rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("the leader never comes to a fit")


def refuses(context: TrainingContext) -> Draft:
    raise PluginError("too_few_images", "label more images")


def gives_up(context: TrainingContext) -> Draft:
    raise TrainingStopped("stopped before there was a model")


def breaks(context: TrainingContext) -> Draft:
    raise RuntimeError("the password is swordfish")


def second_out_of_memory(context: TrainingContext) -> Draft:
    class Large(Line):
        def loss(self, batch: Any) -> Tensor:
            if here().rank == 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")
            return super().loss(batch)

    return draft(context, fit(context, Large(), PLAN))


def endless(context: TrainingContext) -> Draft:
    """Says who takes part, and goes on until it is stopped."""
    (context.folder / f"pid-{here().rank}").write_text(str(os.getpid()))
    return draft(context, fit(context, Line(), replace(PLAN, epochs=10**9)))


def bad_number(context: TrainingContext) -> Draft:
    try:
        context.report("loss", float("nan"), epoch=0)
    except ValueError as error:
        return Draft(context.folder, {}, {}, {"refused": str(error)})
    raise AssertionError("it was taken")
