"""fastai's `fine_tune` with the same network: what a careful user of it does with its defaults.

The body is our backbone with its batch normalisations, the head fastai's own (`create_head`), the groups
those of `default_split`, the images presized to 256 and augmented by `aug_transforms(size=224,
min_scale=0.75)`, normalised as the weights want it, Adam with the default rate of `fine_tune` (2e-3:
`lr_find` takes a hundred steps, which are minutes on a CPU), one epoch frozen and then one-cycle over as
many epochs as fit the budget. Batches of 16, since the default of 64 leaves two steps an epoch on such
sets. How long an epoch takes is measured beforehand and not counted.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from benchmarks.classification import network
from benchmarks.classification.measuring import Clock, Outcome, Point, Probabilities, Task, accuracy

BATCH = 16
_TRIED = 3  # batches to measure the speed by, after one to warm up


def run(task: Task) -> Outcome:
    """Freeze, unfreeze, one cycle over the epochs that the budget allows. Raises `ValueError` without
    fastai.
    """
    with task.clock.paused():
        fastai = _fastai()
    fastai.set_seed(task.seed)
    pictures = {side: network.pictures(task, side) for side in ("train", "validation")}
    with task.clock.paused():
        pictures["test"] = network.pictures(task, "test")
    loaders, rows = _loaders(fastai, task, pictures)
    head = fastai.create_head(1280, len(task.labels))
    fastai.apply_init(head, torch.nn.init.kaiming_normal_)
    learner = fastai.Learner(
        loaders, torch.nn.Sequential(network.body(), head), fastai.CrossEntropyLossFlat(),
        splitter=fastai.default_split,
    )  # fmt: skip
    batches = len(loaders.train)
    with task.clock.paused():
        frozen, unfrozen = (_seconds(task, learner, batches, frozen=frozen) for frozen in (True, False))
    started = task.clock.elapsed()
    epochs = max(1, int((task.budget - started - frozen) / unfrozen))
    curve: list[Point] = []
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs, cbs=_looking(fastai, task, rows, curve))
    seconds = task.clock.elapsed()
    answers = {side: _predict(learner, rows[side]) for side in ("test", "validation")}
    facts = {"epochs": epochs + 1, "expected_epoch_seconds": round(unfrozen, 2)}
    speed = (epochs + 1) * batches * loaders.train.bs / (seconds - started)
    return Outcome(answers["test"], answers["validation"], seconds, speed, curve, facts)


def _fastai() -> Any:
    """fastai's names. Raises `ValueError` when it is not installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it uses what torch deprecates
            return importlib.import_module("fastai.vision.all")
    except ImportError as error:
        raise ValueError(
            f"fastai cannot be imported ({error}); run `pip install fastai` in an environment of your own, "
            "or leave the method fastai out with --methods"
        ) from None


def _loaders(fastai: Any, task: Task, pictures: dict[Any, list[Any]]) -> tuple[Any, dict[str, torch.Tensor]]:
    """Loaders of train and validation side, and both other sides as tensors ready for the network."""
    everything = [*pictures["train"], *pictures["validation"], *pictures["test"]]
    targets = np.concatenate([task.targets("train"), task.targets("validation"), task.targets("test")])
    first, second = len(pictures["train"]), len(pictures["train"]) + len(pictures["validation"])
    block = fastai.DataBlock(
        blocks=(fastai.ImageBlock, fastai.CategoryBlock(vocab=list(task.labels), sort=False)),
        get_x=lambda number: fastai.PILImage.create(everything[number]),
        get_y=lambda number: task.labels[targets[number]],
        splitter=fastai.IndexSplitter(list(range(first, second))),
        item_tfms=fastai.Resize(256),
        batch_tfms=[
            *fastai.aug_transforms(size=network.SIZE, min_scale=0.75),
            fastai.Normalize.from_stats(network.MEAN, network.DEVIATION, cuda=False),
        ],
    )
    size = min(BATCH, first)  # incomplete batches are dropped
    loaders = block.dataloaders(list(range(second)), bs=size, num_workers=0, device=torch.device("cpu"))
    with task.clock.paused():
        ends = {"validation": (first, second), "test": (second, len(everything))}
        rows = {
            side: torch.cat(
                [batch[0].as_subclass(torch.Tensor) for batch in loaders.test_dl(list(range(*numbers)))]
            )
            for side, numbers in ends.items()
        }
    return loaders, rows


def _seconds(task: Task, learner: Any, batches: int, *, frozen: bool) -> float:
    """Seconds that an epoch of training takes, tried on a copy of the network."""
    model = copy.deepcopy(learner.model).train()
    model[0].requires_grad_(not frozen)
    for module in model[0].modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.requires_grad_(True)  # fastai trains these in any case
    optimizer = torch.optim.Adam(model.parameters(), 1e-6)
    endless = itertools.chain.from_iterable(itertools.repeat(learner.dls.train))
    for number, (x, y) in enumerate(itertools.islice(endless, 1 + _TRIED)):
        if number == 1:
            clock = Clock(task.clock.kind, task.threads)
        loss = learner.loss_func(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return clock.elapsed() / _TRIED * batches


def _looking(fastai: Any, task: Task, rows: dict[str, torch.Tensor], curve: list[Point]) -> Any:
    """A callback that stops the clock while fastai validates, and looks at both sides."""
    stack = ExitStack()

    class Looking(fastai.Callback):  # type: ignore[misc]
        def before_validate(self) -> None:
            seconds = task.clock.elapsed()
            stack.enter_context(task.clock.paused())
            shares = [
                accuracy(_predict(self.learn, rows[side]), task.targets(side))
                for side in ("test", "validation")
            ]
            curve.append(Point(seconds, shares[0], shares[1]))
            task.log(f"epoch {len(curve)}: loss {float(self.learn.smooth_loss):.3f}, test {shares[0]:.1%}")

        def after_validate(self) -> None:
            stack.close()

    return Looking()


def _predict(learner: Any, rows: torch.Tensor) -> Probabilities:
    return network.predict(learner.model, rows)
