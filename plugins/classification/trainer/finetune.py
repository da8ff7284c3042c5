"""Stage 2: train all of the network from the fitted last layer on, and keep the best of start and end.

Where time is left, it is done again from the same start with other random numbers, and the weights of all
rounds are averaged: networks that were fine-tuned from one start lie so close together that their mean is
better than each (Wortsman et al., Model soups, arXiv:2203.05482). Longer rounds are better only where the
pretrained features fail: on hand signs 16 epochs of 248 images gave 95.2 %, 65 epochs 90.4 %; on tiny digits,
of which the first model knows half, 20 epochs of 297 images gave 85.8 % and 40 epochs 89.1 %.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plugins import fitting
from plugins.classification import augment, exporter, head, rare
from plugins.classification.augment import Policy
from plugins.classification.bases import LITE0, Base, Network
from plugins.classification.cache import Images
from plugins.classification.preprocess import Pixels
from plugins.classification.trainer.choice import choose
from plugins.classification.trainer.inference import judged, rows_of
from plugins.contract import PluginError, TrainingContext
from plugins.fitting import Fitted, Plan, Score, Share

CHECKPOINT_SECONDS = 15.0
_RESERVE = 3.0  # seconds to write the model
_FINISH = 0.1  # share of the time left that the work after training may take, at most _LONGEST_FINISH seconds
_LONGEST_FINISH = 20.0
_WORTH = 0.7  # share of a round's time that must be left for another one
_LAYERS = 18  # of EfficientNet-Lite0
_HIGHEST_RATE, _UNKNOWN_RATE = 1.6e-3, 8e-4
_MANY = 0.25  # mistakes of the first model


@dataclass(frozen=True)
class Recipe:
    """How fine-tuning is done; what was measured stands in benchmarks/classification.md."""

    views: int = 6_000  # a round
    rounds: int = 4
    batch: int = 16
    rate: float = 4e-4
    head_rate: float = 2e-4
    decay_of_layers: float = 0.85
    weight_decay: float = 0.02
    smoothing: float = 0.1
    mixup: float = 0.4
    mixed: float = 0.7
    average: float = 0.98
    frozen: int = 2  # blocks nearest to the input that stay as they are
    least_epochs: int = 8
    patience: int | None = None  # epochs without a better score
    part_way: bool = True  # see `choose`

    def epochs_for(self, images: int) -> int:
        """Epochs that show so many views altogether, within reason."""
        return min(max(round(self.views / images), self.least_epochs), 40)


RECIPE = Recipe()


def recipe_of(base: Base, mistakes: float | None) -> Recipe:
    """The recipe for a network, by `mistakes`: the share of training images that the first model has wrong in
    cross-validation, None where nobody knows. The more its features fail the more a network has to change.
    From `_MANY` mistakes on a round grows with them, to twice its length. EfficientNet-Lite, whose
    statistics stay as they are, bears high rates: the highest is a hundredth of the mistakes, within limits.
    torchvision's networks are trained at the usual rate. See benchmarks/classification.md.
    """
    longer = min(max((mistakes or 0.0) / _MANY, 1.0), 2.0)
    recipe = replace(RECIPE, views=round(RECIPE.views * longer))
    if base.architecture != LITE0.architecture:
        return recipe
    rate = _UNKNOWN_RATE if mistakes is None else min(max(0.01 * mistakes, RECIPE.rate), _HIGHEST_RATE)
    return replace(recipe, rate=rate, head_rate=rate * RECIPE.head_rate / RECIPE.rate)


def fine_tune(
    context: TrainingContext,
    network: Network,
    sides: Mapping[str, Images],
    recipe: Recipe = RECIPE,
    *,
    mirrored: bool = True,
    excess: head.Floats,
) -> str:
    """Train all of the network; it then holds what is best, which may be its start. `mirrored` says that
    mirror images keep their class, `excess` (classes) what training adds to the scores (see `rare`).
    """
    started = time.monotonic()
    judged(context, network, sides["validation"])
    # The candidates are judged after training, and then the model is written and evaluated.
    reserve = _RESERVE + 9 * (time.monotonic() - started)
    reserve += min(_FINISH * max(context.time_left(), 0.0), _LONGEST_FINISH)
    policy = Policy(flip=mirrored)
    seed = context.params.seed
    rounds = _rounds(
        context,
        lambda number: FineTuning(context, network, sides, recipe, policy, seed + number, excess=excess),
        1 if context.params.epochs else recipe.rounds,
        reserve,
    )
    epochs = sum(fitted.epochs for fitted in rounds)
    context.fact("epochs", round(epochs, 2))
    context.fact("rounds", len(rounds))
    context.fact("ending", rounds[-1].ending)
    share = choose(context, network, rounds, sides["validation"], part_way=recipe.part_way)
    stage = "fine-tuned" if share > 0 else "head"
    context.fact("fine_tuned_share", share)
    if epochs:
        context.log(f"Training {rounds[-1].ending} after {epochs:.1f} epochs; the {stage} model is kept.")
    else:
        context.log("The time budget leaves none for fine-tuning; the first model is kept.")
    return stage


def _rounds(
    context: TrainingContext, work: Callable[[int], FineTuning], most: int, reserve: float
) -> list[Fitted]:
    """One at least, and more while there is time; one that diverges after others does not count. Raises
    `PluginError` (`loss_not_finite`) where the first one does.
    """
    rounds: list[Fitted] = []
    for number in range(most):
        before = sum(fitted.epochs for fitted in rounds)
        if number:
            context.log(f"There is time for another round of training, number {number + 1}.")
        try:
            fitted, took = _one_round(context, work(number), number, before, reserve)
        except PluginError as error:
            if not rounds or error.code != "loss_not_finite":
                raise
            context.log(f"Round {number + 1} diverged and does not count.")
            break
        rounds.append(fitted)
        if fitted.ending != "finished":
            break
        begun = (context.folder / f"{_name(number + 1)}.safetensors").is_file()
        if not begun and context.time_left() - reserve < _WORTH * took:
            break
    return rounds


def begun(context: TrainingContext) -> bool:
    """Whether an earlier attempt has begun to fine-tune."""
    names = (f"{_name(0)}.safetensors", "round-0.safetensors")
    return any((context.folder / name).is_file() for name in names)


def _one_round(
    context: TrainingContext, work: FineTuning, number: int, before: float, reserve: float
) -> tuple[Fitted, float]:
    """Fit from the start on with other random numbers, or read what an earlier attempt had fitted; and the
    seconds that it took.
    """
    started = time.monotonic()
    path = context.folder / f"round-{number}.safetensors"
    if path.is_file():
        tensors, record = fitting.read_checkpoint(path)
        tensors = {name: value.to(context.device) for name, value in tensors.items()}
        best, last = (fitting.part(tensors, prefix) for prefix in ("best.", "last."))
        took = record.pop("seconds")
        return Fitted(best, last, **record), took
    recipe, images = work.recipe, len(work.images)
    plan = Plan(
        epochs=context.params.epochs or recipe.epochs_for(images),
        batches=-(-images // recipe.batch),
        average=recipe.average,
        patience=recipe.patience,
        reserve=reserve,
        seed=work.seed,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        name=_name(number),
        before=before,
    )
    fitted = fitting.fit(context, work, plan)
    if fitted.ending == "finished":
        names = ("score", "best_epoch", "epochs", "ending")
        record = {name: getattr(fitted, name) for name in names} | {"seconds": time.monotonic() - started}
        tensors = {f"best.{name}": value for name, value in fitted.best.items()}
        tensors |= {f"last.{name}": value for name, value in fitted.last.items()}
        context.checkpoint()
        fitting.write_checkpoint(path, tensors, record)
    return fitted, time.monotonic() - started


def _name(number: int) -> str:
    """Of a round's checkpoint."""
    return f"checkpoint-{number}" if number else "checkpoint"


class FineTuning:
    """The work that `plugins.fitting.fit` does: see `plugins.fitting.Work`."""

    def __init__(
        self,
        context: TrainingContext,
        network: Network,
        sides: Mapping[str, Images],
        recipe: Recipe,
        policy: Policy,
        seed: int,
        *,
        excess: head.Floats,
    ) -> None:
        self.recipe, self.policy, self.seed = recipe, policy, seed
        self.context, self.model = context, copy.deepcopy(network)
        self.images, self.validation = sides["train"], sides["validation"]
        self.size = self.images.plain.shape[1]
        weights = rare.class_weights(self.images.targets, len(context.labels))
        self.weights = torch.from_numpy(weights).to(context.device)
        self.excess = torch.from_numpy(excess).to(context.device)
        self.right: list[Tensor] = []

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; layers near the input, which know edges and textures, learn more slowly. Features of lower
        layers that the start leaves out stay left out.
        """
        weight, lower = self.model.head.weight, self.model.lower
        if lower and not weight[:, :lower].any():
            used = torch.ones_like(weight)
            used[:, :lower] = 0
            weight.register_hook(lambda gradient: gradient * used)  # type: ignore[no-untyped-call]
        rate = self.context.params.learning_rate or self.recipe.rate
        layers = self.model.layers()
        depth_of_all = (len(layers) - 1) / (_LAYERS - 1)  # the recipe is that of so many layers
        for layer in layers[: round((self.recipe.frozen + 1) * depth_of_all) if self.recipe.frozen else 0]:
            layer.requires_grad_(False)
        groups: list[dict[str, Any]] = []
        for depth, layer in enumerate(layers):
            lr = rate * self.recipe.decay_of_layers ** ((len(layers) - 1 - depth) / depth_of_all)
            for decays in (True, False):
                parameters = [p for p in layer.parameters() if p.requires_grad and (p.dim() > 1) == decays]
                if not parameters:
                    continue
                groups.append(
                    {"params": parameters, "lr": lr, "weight_decay": self.recipe.weight_decay * decays}
                )
        head_rate = rate * self.recipe.head_rate / self.recipe.rate
        groups.append({"params": self.model.head.parameters(), "lr": head_rate})
        return torch.optim.AdamW(groups, weight_decay=self.recipe.weight_decay, fused=True)

    def batches(self, epoch: int, first: int, share: Share) -> Iterator[Batch]:
        """Augmented batches, of each this process's share; the next one is made while this one is used."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
        places = [
            share.of(order[start : start + self.recipe.batch])
            for start in range(0, len(order), self.recipe.batch)
        ]
        with ThreadPoolExecutor(max(1, self.context.threads)) as pool:
            ahead = [
                pool.submit(self._view, epoch, index) for some in places[first : first + 1] for index in some
            ]
            for number in range(first, len(places)):
                views = np.array([one.result() for one in ahead], np.uint8)
                rows = views.reshape(-1, self.size, self.size, 3)  # a share may be empty
                ahead = [
                    pool.submit(self._view, epoch, index)
                    for some in places[number + 1 : number + 2]
                    for index in some
                ]
                yield Batch(rows, self.images.targets[places[number]])

    def _view(self, epoch: int, index: int) -> Pixels:
        random = np.random.default_rng((self.seed, 1, epoch, index))
        return augment.view(self.images.large[index], self.size, self.policy, random)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy with smoothed labels; most batches are mixed with themselves (mixup). The excess is
        in here alone: what the network holds is without it at any time.
        """
        x = exporter.to_input(batch.rows, self.context.device)
        targets = torch.from_numpy(batch.targets).to(self.context.device)
        random = np.random.default_rng(torch.initial_seed())
        mixes = random.random() < self.recipe.mixed
        share = float(random.beta(self.recipe.mixup, self.recipe.mixup)) if mixes else 1.0
        share = max(share, 1 - share)  # the first one is the one to recognise
        other = torch.from_numpy(random.permutation(len(targets))).to(x.device)
        scores = self.model(torch.lerp(x[other], x, share))
        self.right.append((scores.argmax(1) == targets).float())
        scores = scores + self.excess
        losses = (
            weighted_cross_entropy(scores.float(), classes, self.weights, self.recipe.smoothing)
            for classes in (targets, targets[other])
        )
        of_first, of_other = losses
        return share * of_first + (1 - share) * of_other

    def score(self, model: torch.nn.Module) -> Score:
        """The score on validation."""
        assert isinstance(model, Network)
        judgement = judged(self.context, model, self.validation)
        rows = rows_of(judgement, self.validation)
        if self.right:
            rows["accuracy"], self.right = float(torch.cat(self.right).mean()), []
        return Score(-judgement.log_loss, rows)


@dataclass(frozen=True)
class Batch:
    """Images (n, size, size, 3) as bytes, and their classes."""

    rows: Pixels
    targets: head.Targets

    def __len__(self) -> int:
        return len(self.targets)


def weighted_cross_entropy(scores: Tensor, targets: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """The mean loss of `scores` (n, classes), each image weighted by its class: `weights` (classes).

    torch's own weights weigh the smoothed part of every image by all classes, which teaches to answer rare
    classes everywhere: at 1:100 an image of the frequent class would best be given 65 %.
    """
    losses = functional.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="none")
    of_images = weights[targets]
    return (losses * of_images).sum() / of_images.sum()
