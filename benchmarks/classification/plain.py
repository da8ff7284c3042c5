"""Fine-tuning as tutorials of torchvision do it: all layers at one learning rate.

Adam, cosine from the rate down to zero over the budget, batches of 32, random resized crops and mirror
images, batch normalisation in training mode, cross-entropy; judged on the middle of the image as it is
after the last step. Better than in tutorials: images are decoded once, views are made beside the training,
the memory format is the faster one (channels_last), and the cosine ends when the budget does, as if one
knew how many epochs fit in.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from benchmarks.classification import network
from benchmarks.classification.measuring import Outcome, Point, Probabilities, Task, accuracy

BATCH = 32
_LOOKS = 20  # at the test side in one run, at most


def augmentation() -> v2.Transform:
    """A random view of an image for training."""
    return v2.Compose([v2.RandomResizedCrop(network.SIZE), v2.RandomHorizontalFlip(), *_to_tensor()])


def plain_view() -> v2.Transform:
    """The one view of an image for judging."""
    return v2.Compose([v2.Resize(256), v2.CenterCrop(network.SIZE), *_to_tensor()])


def _to_tensor() -> list[v2.Transform]:
    return [
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(network.MEAN, network.DEVIATION),
    ]


def run(task: Task, rate: float) -> Outcome:
    """Train until the budget is spent."""
    torch.manual_seed(task.seed)
    pictures, targets = network.pictures(task, "train"), task.targets("train")
    with task.clock.paused():
        look = Look(task)
    model = network.classifier(len(task.labels))
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses: list[float] = []
    seen, epoch = 0, 0
    started = task.clock.elapsed()
    model.train()
    while task.clock.elapsed() < task.budget:
        for rows, wanted in _batches(pictures, targets, np.random.default_rng((task.seed, epoch))):
            progress = min(1.0, task.clock.elapsed() / task.budget)
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 + np.cos(np.pi * progress)) / 2
            loss = functional.cross_entropy(model(rows), wanted)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            seen += len(wanted)
            losses.append(loss.item())
            if task.clock.elapsed() >= task.budget:
                break
        epoch += 1
        look.now_and_then(model, f"epoch {epoch}: loss {np.mean(losses[-5:]):.3f}")
    seconds = task.clock.elapsed()
    test, validation = look.answers(model)
    facts = {"epochs": round(seen / len(targets), 2), "loss": round(float(np.mean(losses[-5:])), 4)}
    return Outcome(test, validation, seconds, seen / (seconds - started), look.curve, facts)


class Look:
    """Looks at test and validation side at ends of epochs, now and then, with the clock stopped."""

    def __init__(self, task: Task) -> None:
        self.task, self.curve = task, list[Point]()
        self._rows = [
            torch.stack([plain_view()(one) for one in network.pictures(task, split)])
            for split in ("test", "validation")
        ]
        self._last = 0.0

    def answers(self, model: torch.nn.Module) -> tuple[Probabilities, Probabilities]:
        """Class probabilities of the test side and of the validation side."""
        return network.predict(model, self._rows[0]), network.predict(model, self._rows[1])

    def now_and_then(self, model: torch.nn.Module, said: str) -> None:
        """Add a point to the curve, unless the last one is fresh or the end is there."""
        seconds = self.task.clock.elapsed()
        if seconds - self._last < self.task.budget / _LOOKS or seconds >= self.task.budget:
            return
        with self.task.clock.paused():
            test, validation = self.answers(model)
        shares = (
            accuracy(test, self.task.targets("test")),
            accuracy(validation, self.task.targets("validation")),
        )
        self.curve.append(Point(seconds, *shares))
        self.task.log(f"{said}, {shares[0]:.1%} of the test side")
        self._last = seconds


def _batches(
    pictures: list[Image.Image], targets: npt.NDArray[np.int64], random: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches of one epoch; one thread makes the next one while this one is used."""
    order = random.permutation(len(pictures))
    places = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    view = augmentation()

    def make(some: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        rows = torch.stack([view(pictures[place]) for place in some])
        return rows.contiguous(memory_format=torch.channels_last), torch.from_numpy(targets[some])

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, places[0])
        for following in [*places[1:], None]:
            batch = ahead.result()
            if following is not None:
                ahead = pool.submit(make, following)
            yield batch
