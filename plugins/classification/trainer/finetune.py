"""Stage 2: train all of the network from the fitted last layer on, and keep the best of start and end."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from plugins import fitting
from plugins.classification import augment, exporter, head
from plugins.classification.augment import Policy
from plugins.classification.bases import Network
from plugins.classification.cache import Images
from plugins.classification.preprocess import Pixels
from plugins.classification.trainer.inference import judged, rows_of
from plugins.contract import TrainingContext
from plugins.fitting import Plan, Score, Share

CHECKPOINT_SECONDS = 15.0
_RESERVE = 3.0  # seconds to write the model
_FINISH = 0.1  # share of the time left that the work after training may take, at most _LONGEST_FINISH seconds
_LONGEST_FINISH = 20.0
_USUAL = 0.7
_LAYERS = 18  # of EfficientNet-Lite0


@dataclass(frozen=True)
class Recipe:
    """How fine-tuning is done; what was measured stands in benchmarks/classification.md."""

    views: int = 24_000
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

    def epochs_for(self, images: int) -> int:
        """Epochs that show so many views altogether, within reason."""
        return min(max(round(self.views / images), self.least_epochs), 150)


RECIPE = Recipe()


def fine_tune(
    context: TrainingContext,
    network: Network,
    sides: Mapping[str, Images],
    size: int,
    recipe: Recipe = RECIPE,
    *,
    mirrored: bool = True,
) -> str:
    """Train all of the network; it then holds what is best, which may be its start. `mirrored` says that
    mirror images keep their class.
    """
    work = FineTuning(context, network, sides, size, recipe, Policy(flip=mirrored))
    started = time.monotonic()
    judged(context, network, sides["validation"])
    plan = Plan(
        epochs=context.params.epochs or recipe.epochs_for(len(sides["train"])),
        batches=-(-len(sides["train"]) // recipe.batch),
        average=recipe.average,
        patience=recipe.patience,
        # The candidates are judged after training, and then the model is written and evaluated.
        reserve=_RESERVE
        + 8 * (time.monotonic() - started)
        + min(_FINISH * max(context.time_left(), 0.0), _LONGEST_FINISH),
        seed=context.params.seed,
        checkpoint_seconds=CHECKPOINT_SECONDS,
    )
    fitted = fitting.fit(context, work, plan)
    context.fact("epochs", round(fitted.epochs, 2))
    context.fact("ending", fitted.ending)
    share = _choose(context, network, fitted, sides["validation"])
    stage = "fine-tuned" if share > 0 else "head"
    context.fact("fine_tuned_share", share)
    if fitted.epochs:
        context.log(f"Training {fitted.ending} after {fitted.epochs:.1f} epochs; the {stage} model is kept.")
    else:
        context.log("The time budget leaves none for fine-tuning; the first model is kept.")
    return stage


def _choose(context: TrainingContext, network: Network, fitted: fitting.Fitted, validation: Images) -> float:
    """Put the best weights into the network: those of the best epoch, of the end, or on the way there from
    the start, where networks are often better than at either end (Wortsman et al., arXiv:2109.01903).

    A few validation images are little to choose by: the start is left, for what lies `_USUAL` of the way to
    the end, only if that is better by more than the standard error of the difference, and so is this for
    another one. The share of the way that was kept: 0 is the start.
    """
    start = {name: value.clone() for name, value in network.state_dict().items()}
    if not fitted.epochs or (fitted.ending == "stopped" and not len(validation)):
        return 0.0  # nothing was learned, or it was cut short and there is nothing to judge it by
    ways = [(0.0, start), (float(fitted.best_epoch > 0), fitted.best)]
    if fitted.ending != "stopped":
        ways += [(share, _between(start, fitted.last, share)) for share in (_USUAL, 1.0, 0.4)]
    if not len(validation):
        network.load_state_dict(ways[2][1])
        return _USUAL
    losses: list[npt.NDArray[np.float64]] = []
    for _, weights in ways:
        if len(losses) >= 2 and context.should_stop():
            break
        network.load_state_dict(weights)
        losses.append(judged(context, network, validation).losses)
    chosen = _better(losses)
    network.load_state_dict(ways[chosen][1])
    return ways[chosen][0]


def _between(start: fitting.Weights, end: fitting.Weights, share: float) -> fitting.Weights:
    return {name: torch.lerp(start[name], value, share) for name, value in end.items()}


def _better(losses: list[npt.NDArray[np.float64]]) -> int:
    """Which candidate to take by their losses on each validation image; the first one is the start, and the
    third one is usual. Each step away from the one before must be worth its doubt: on thirteen images a
    network that knows less than its start looks better than it every third time.
    """
    best = int(np.argmin([one.mean() for one in losses]))
    usual = min(2, len(losses) - 1)
    chosen = usual if _is_better(losses[usual], losses[0]) else 0
    return best if _is_better(losses[best], losses[chosen]) else chosen


def _is_better(losses: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> bool:
    """Whether the mean is lower by more than the standard error of the difference."""
    gain = others - losses
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)))


class FineTuning:
    """The work that `plugins.fitting.fit` does: see `plugins.fitting.Work`."""

    def __init__(
        self,
        context: TrainingContext,
        network: Network,
        sides: Mapping[str, Images],
        size: int,
        recipe: Recipe,
        policy: Policy,
    ) -> None:
        self.recipe, self.policy = recipe, policy
        self.context, self.model, self.size = context, copy.deepcopy(network), size
        self.images, self.validation = sides["train"], sides["validation"]
        weights = head.class_weights(self.images.targets, len(context.labels))
        self.weights = torch.from_numpy(weights).to(context.device)
        self.seed = context.params.seed
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
        """Cross-entropy with smoothed labels; most batches are mixed with themselves (mixup)."""
        x = exporter.to_input(batch.rows, self.context.device)
        targets = torch.from_numpy(batch.targets).to(self.context.device)
        random = np.random.default_rng(torch.initial_seed())
        mixes = random.random() < self.recipe.mixed
        share = float(random.beta(self.recipe.mixup, self.recipe.mixup)) if mixes else 1.0
        share = max(share, 1 - share)  # the first one is the one to recognise
        other = torch.from_numpy(random.permutation(len(targets))).to(x.device)
        scores = self.model(torch.lerp(x[other], x, share))
        self.right.append((scores.argmax(1) == targets).float())
        return share * self._cross_entropy(scores, targets) + (1 - share) * self._cross_entropy(
            scores, targets[other]
        )

    def _cross_entropy(self, scores: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            scores.float(), targets, self.weights, label_smoothing=self.recipe.smoothing
        )

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
