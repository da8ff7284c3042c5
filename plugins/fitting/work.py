"""What the loop is given and what it returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from plugins.fitting.checkpoint import Weights
from plugins.fitting.ranks import Share

Ending = Literal["finished", "no longer improving", "stopped"]


@dataclass(frozen=True)
class Score:
    """How good a network is on validation: `value` ranks (higher is better), `rows` are reported."""

    value: float
    rows: Mapping[str, float] = field(default_factory=dict)


class Work(Protocol):
    """What a plugin supplies. With several processes each one makes the same work from the same files."""

    @property
    def model(self) -> nn.Module:
        """The network, on its device. Normalisation over a batch would see this process's share only: keep
        its statistics fixed, or use one that does not look at the batch.
        """

    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimiser whose groups carry their highest learning rate."""

    def batches(self, epoch: int, first: int, share: Share) -> Iterator[Sized]:
        """The epoch's batches from number `first` on, the same ones whenever asked; `len` counts images.

        Of each batch only the images of `share` are given, which may be none of a small one.
        """

    def loss(self, batch: Any) -> Tensor:
        """The mean loss of a batch that is not empty: a scalar. Images are mixed within the share."""

    def score(self, model: nn.Module) -> Score:
        """Judge this network (the average of the weights), which stands in evaluation mode. Asked of one
        process only.
        """


@dataclass(frozen=True)
class Plan:
    """How long and how. `warmup` and `final_rate` are shares of all steps and of the highest learning rate;
    `reserve` are seconds of the time budget left to the caller; `patience` counts epochs without a better
    score. `name` is that of the checkpoint: a training that fits twice gives two, and says with `before` how
    many epochs of earlier fits are counted in where this one reports; one that trains several networks tells
    their metrics apart by `prefix`.
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
    name: str = "checkpoint"
    before: float = 0.0
    prefix: str = ""


@dataclass(frozen=True)
class Fitted:
    """The weights with the best score, those of the end, and how it went. `score` is that of `best`."""

    best: Weights
    last: Weights
    score: float
    best_epoch: float
    epochs: float
    ending: Ending
