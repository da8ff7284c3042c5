"""Several processes at one training: torch's process group, reduced to what the loop needs.

Without `join` there is one process, and everything here does nothing: the loop has one path. With it, the
first process (rank 0, the leader) runs the trainer from its beginning to its end. The others wait until it
enters a fit, then run the trainer, too, which finds in its folder what the leader has made so far, as the
trainer of a second attempt would; they take part in that fit and wait again.

Inside a fit all processes take the same steps: each computes the gradient of its share of a batch, one
all-reduce a step adds these up, and with them travel the loss and the leader's decisions (whether to stop,
how much of the time is used). So the batch, its order and the learning rate are those of one process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn

if TYPE_CHECKING:
    from plugins.fitting.work import Plan

_FOR_EVER = timedelta(days=7)  # whoever waits is ended from outside when another one is lost
_Rows = TypeVar("_Rows", bound=npt.NDArray[Any])


class PeerLost(Exception):
    """Another process of this training is gone, so this one cannot go on."""


class FitOver(BaseException):
    """Ends the trainer of a process that does not lead once its fit is over; no plugin shall catch it."""


@dataclass(frozen=True)
class Share:
    """The part of each batch that one of `size` processes works on."""

    rank: int = 0
    size: int = 1

    def of(self, rows: _Rows) -> _Rows:
        """This share's rows of (n, ...): every `size`-th one. May be none."""
        return rows[self.rank :: self.size]  # type: ignore[return-value]


@dataclass(frozen=True)
class Step:
    """What all processes know after a step: the batch's mean loss, its images, and the leader's decisions.
    `progress` is the share of the plan or the time that is used.
    """

    loss: float
    images: int
    stop: bool
    progress: float


@dataclass
class Ranks:
    """This process among those of its training."""

    rank: int = 0
    size: int = 1
    fit: str = ""  # the one that the leader is in, for those that follow

    @property
    def leads(self) -> bool:
        """Whether this process decides, judges, reports and writes."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """This process's part of each batch."""
        return Share(self.rank, self.size)

    def spread(self, data: bytes) -> bytes:
        """The leader's bytes, in every process."""
        if self.size == 1:
            return data
        length = torch.tensor([len(data)])
        with _peers():
            dist.broadcast(length, 0)
            held = torch.empty(int(length), dtype=torch.uint8)
            if self.leads:
                held.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
            dist.broadcast(held, 0)
        return held.numpy().tobytes()

    def tell(self, value: Any) -> Any:
        """The leader's JSON value, in every process."""
        return value if self.size == 1 else json.loads(self.spread(json.dumps(value).encode()))

    def passes_by(self, plan: Plan) -> bool:
        """Whether this fit is over already: the leader is in a later one."""
        return not self.leads and plan.name != self.fit

    def enter(self, plan: Plan) -> Plan:
        """Begin a fit together, by the leader's plan. Raises `PeerLost`, or `RuntimeError` when this process
        has another number of batches before it.
        """
        if self.size == 1:
            return plan
        if self.leads:
            self.tell({"fit": plan.name})
        led = self.tell(asdict(plan))
        if led["batches"] != plan.batches:
            raise RuntimeError(f"{plan.batches} batches an epoch here, {led['batches']} in the first process")
        return type(plan)(**led)

    def leave(self) -> None:
        """The end of a fit: the leader goes on, the others wait for the next one."""
        if not self.leads:
            raise FitOver

    def follow(self, train: Callable[[], object]) -> None:
        """Take part in every fit that the leader comes to, until it has dismissed the others."""
        while (order := self.tell(None)) is not None:
            self.fit = order["fit"]
            try:
                train()
            except FitOver:
                continue
            raise RuntimeError(f"this process did not come to the fit {self.fit!r}")

    def dismiss(self) -> None:
        """The leader's training is over."""
        self.tell(None)

    def combine(self, parameters: Sequence[nn.Parameter], mine: Step) -> Step:
        """Turn the gradients of the shares' mean losses into that of the batch's mean loss, in place.

        `mine` is this process's loss and images; of the decisions the leader's count. A loss whose mean is
        weighted by class is averaged by images, as its shares have nearly equal weights.
        """
        if self.size == 1:
            return mine
        given = [parameter.grad is not None for parameter in parameters]
        decided = (mine.stop, mine.progress) if self.leads else (0, 0)
        numbers = [mine.loss * mine.images, mine.images, *decided]
        parts = [_weighted(parameter, mine.images) for parameter in parameters]
        tail = torch.tensor([*given, *numbers], dtype=torch.float32, device=parameters[0].device)
        flat = torch.cat([*parts, tail])
        with _peers():
            dist.all_reduce(flat)
        *pieces, told = torch.split(flat, [part.numel() for part in parts] + [len(tail)])
        *present, loss, images, stop, progress = told.tolist()
        for parameter, piece, here in zip(parameters, pieces, present, strict=True):
            if here:  # in a process whose share was empty there was none
                gradient = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = gradient.copy_(piece.view_as(parameter) / images)
        return Step(loss / images, round(images), stop > 0, progress)

    @contextmanager
    def working_together(self) -> Iterator[None]:
        """Every process takes its part of the threads."""
        threads = torch.get_num_threads()
        torch.set_num_threads(max(1, threads // self.size))
        try:
            yield
        finally:
            torch.set_num_threads(threads)

    @contextmanager
    def working_alone(self) -> Iterator[None]:
        """The leader takes all threads while the others wait for it."""
        threads = torch.get_num_threads()
        torch.set_num_threads(threads * self.size)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


_here = Ranks()


def here() -> Ranks:
    """This process's place."""
    return _here


@contextmanager
def joined(store: Path, rank: int, size: int, device: str) -> Iterator[Ranks]:
    """Meet the other processes at a new file `store`; gradients travel by nccl between GPUs, and by gloo
    between CPUs. Raises `PeerLost`.
    """
    global _here  # noqa: PLW0603 - a process has one place, as torch has one process group
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    with _peers():
        dist.init_process_group(
            backend, init_method=f"file://{store}", rank=rank, world_size=size, timeout=_FOR_EVER
        )
    _here = Ranks(rank, size)
    try:
        yield _here
    finally:
        _here = Ranks()
    dist.destroy_process_group()  # not after a fault: it could wait for processes that are gone


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo has no narrower kind for a connection that broke
        raise PeerLost(str(error)) from error


def _weighted(parameter: nn.Parameter, images: int) -> Tensor:
    """The gradient as one row of float32 numbers, times the images behind it."""
    if parameter.grad is None:
        return torch.zeros(parameter.numel(), device=parameter.device)
    return parameter.grad.detach().reshape(-1).float() * images
