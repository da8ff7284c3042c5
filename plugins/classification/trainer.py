"""Training of a classifier in two stages: the last layer on features of the pretrained network, ready within
seconds, and from there fine-tuning of the whole network. What is best on validation is kept.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plugins import fitting
from plugins.classification import augment, bases, cache, exporter, head
from plugins.classification.bases import EfficientNetLite
from plugins.classification.cache import Images
from plugins.classification.params import ClassificationParams
from plugins.classification.preprocess import Pixels
from plugins.contract import Draft, PluginError, TrainingContext, TrainingStopped
from plugins.fitting import Plan, Score

BASES = {"classification-high-performance": bases.LITE0}

CHECKPOINT_SECONDS = 15.0
_VIEWS = 2  # augmented views beside the plain one that the head is fitted on
_CHUNK = 32
_RESERVE = 5.0  # seconds for export, and as much again for each 500 validation images


@dataclass(frozen=True)
class Recipe:
    """How fine-tuning is done; measured on several sets, in benchmarks/classification.md."""

    epochs: int = 30
    batch: int = 16
    rate: float = 3e-4
    head_rate: float = 1e-3
    decay_of_layers: float = 0.85
    weight_decay: float = 0.02
    smoothing: float = 0.1
    mixup: float = 0.2
    average: float = 0.98


RECIPE = Recipe()


def train(context: TrainingContext) -> Draft:
    """See `plugins.contract.Train`. Raises `PluginError` (`too_few_classes`, `too_few_images`, and those of
    `plugins.fitting`) and `TrainingStopped`.
    """
    params: ClassificationParams = context.params
    base = BASES[context.algorithm]
    torch.set_num_threads(max(1, context.threads))
    context.folder.mkdir(parents=True, exist_ok=True)
    size = params.image_size or cache.choose_size(context)
    sides = {split: cache.decode(context, split, size) for split in ("train", "validation")}
    _check(context, sides["train"])
    _state_facts(context, sides, base, size)
    network = bases.load(base, len(context.labels)).to(context.device)
    fitted = _fit_head(context, network, sides, size)
    stage = "head"
    if params.fine_tune and not context.should_stop():
        network, stage = _fine_tune(context, network, sides, size)
    context.fact("stage", stage)
    model = exporter.export(network, context.labels, size, context.folder / "draft")
    facts = {"stage": stage, "head_strength": fitted.strength, "train_images": len(sides["train"])}
    origin = {"name": base.name, "file": base.file, "sha256": base.sha256}
    return Draft(context.folder / "draft", model, origin, facts)


def _check(context: TrainingContext, images: Images) -> None:
    if len(context.labels) < 2:
        raise PluginError("too_few_classes", "a classifier needs at least two classes; choose more labels")
    counts = np.bincount(images.targets, minlength=len(context.labels)) if len(images) else [0]
    if np.count_nonzero(counts) < 2:
        raise PluginError("too_few_images", "at least two classes need images to train on; label more images")
    for label, count in zip(context.labels, counts, strict=True):
        if count == 0:
            context.log(f"The class {label} has no image to train on; it will not be predicted.")


def _state_facts(context: TrainingContext, sides: Mapping[str, Images], base: bases.Base, size: int) -> None:
    for split, images in sides.items():
        context.fact(f"{split}_images", len(images))
    context.fact("classes", len(context.labels))
    context.fact("image_size", size)
    context.fact("base", base.name)
    context.fact("device", context.device)
    context.log(
        f"{len(sides['train'])} images to train on and {len(sides['validation'])} to validate, "
        f"{len(context.labels)} classes, scaled to {size} x {size} pixels, on {context.device}."
    )


def _fit_head(
    context: TrainingContext, network: EfficientNetLite, sides: Mapping[str, Images], size: int
) -> head.Head:
    """Stage 1: fit the last layer and put it into the network."""
    started = time.monotonic()
    images = sides["train"]
    views = [_features(context, network, images.plain)]
    _stop_without_model(context, len(views[0]) < len(images))
    for number in range(_VIEWS):
        rows = _AugmentedRows(images, size, context.params.seed, number)
        more = _features(context, network, rows)
        if len(more) < len(images):
            break
        views.append(more)
    groups = np.array([example.group or example.content_hash for example in images.examples])
    fitted = head.fit(np.stack(views), images.targets, groups, len(context.labels), stop=context.should_stop)
    with torch.no_grad():
        network.head.weight.copy_(torch.from_numpy(fitted.weight))
        network.head.bias.copy_(torch.from_numpy(fitted.bias))
    score = judge(network, sides["validation"], context)
    seconds = time.monotonic() - started
    context.fact("head_seconds", round(seconds, 1))
    for name, value in score.rows.items():
        context.report(name, value, epoch=0)
    context.log(f"A first model is ready after {seconds:.0f} s{_in_words(score)}.")
    return fitted


def _stop_without_model(context: TrainingContext, cut_short: bool) -> None:
    if cut_short:
        raise TrainingStopped("stopped before there was a model")


def _in_words(score: Score) -> str:
    accuracy = score.rows.get("validation_accuracy")
    return "" if accuracy is None else f": {accuracy:.1%} of the validation images are right"


class _AugmentedRows:
    """Views of all images as an array that makes them when they are asked for."""

    def __init__(self, images: Images, size: int, seed: int, number: int) -> None:
        self.images, self.size, self.seed, self.number = images, size, seed, number

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: slice) -> Pixels:
        return np.stack([self._view(index) for index in range(len(self))[place]])

    def _view(self, index: int) -> Pixels:
        random = np.random.default_rng((self.seed, self.number, index))
        return augment.view(self.images.large[index], self.size, augment.Policy(), random)


def _features(context: TrainingContext, network: EfficientNetLite, rows: Any) -> head.Floats:
    """Pooled features of all rows, or of the first ones when asked to stop."""
    parts = []
    network.eval()
    for start in range(0, len(rows), _CHUNK):
        with torch.inference_mode(), fitting.autocast(context.device):
            part = network.features(exporter.to_input(rows[start : start + _CHUNK], context.device))
        parts.append(part.float().cpu().numpy())
        if context.should_stop():
            break
    return np.concatenate(parts)


@torch.no_grad()
def judge(network: EfficientNetLite, images: Images, context: TrainingContext) -> Score:
    """The score on plain images: by the log loss, which says more than accuracy on few images."""
    if not len(images):
        return Score(0.0)
    scores = []
    for start in range(0, len(images), _CHUNK):
        scores.append(
            network(exporter.to_input(images.plain[start : start + _CHUNK], context.device)).float()
        )
    answers, targets = torch.cat(scores).cpu(), torch.from_numpy(images.targets)
    loss = float(functional.cross_entropy(answers / best_temperature(answers, targets), targets))
    accuracy = float((answers.argmax(1) == targets).float().mean())
    return Score(-loss, {"validation_loss": loss, "validation_accuracy": accuracy})


def best_temperature(answers: Tensor, targets: Tensor) -> float:
    """The number to divide scores by so that they are as sure as they may be: networks trained with smoothed
    labels are too modest, layers fitted on few images too sure.
    """
    choices = torch.logspace(-0.5, 0.7, 25).tolist()  # 0.3 to 5
    losses = [float(functional.cross_entropy(answers / choice, targets)) for choice in choices]
    temperature: float = choices[int(np.argmin(losses))]
    return temperature


def _fine_tune(
    context: TrainingContext, network: EfficientNetLite, sides: Mapping[str, Images], size: int
) -> tuple[EfficientNetLite, str]:
    """Stage 2: train all of the network and keep what is best, which may be the start."""
    work = FineTuning(context, network, sides, size)
    seconds = _RESERVE * (1 + len(sides["validation"]) / 500)
    plan = Plan(
        epochs=context.params.epochs or RECIPE.epochs,
        batches=-(-len(sides["train"]) // RECIPE.batch),
        average=RECIPE.average,
        reserve=seconds,
        checkpoint_seconds=CHECKPOINT_SECONDS,
        seed=context.params.seed,
    )
    fitted = fitting.fit(context, work, plan)
    context.fact("epochs", round(fitted.epochs, 2))
    context.fact("ending", fitted.ending)
    network.load_state_dict(fitted.best)
    stage = "fine-tuned" if fitted.best_epoch > 0 else "head"
    context.log(f"Training {fitted.ending} after {fitted.epochs:.1f} epochs; the {stage} model is kept.")
    return network, stage


class FineTuning:
    """The work that `plugins.fitting.fit` does: see `plugins.fitting.Work`."""

    def __init__(
        self, context: TrainingContext, network: EfficientNetLite, sides: Mapping[str, Images], size: int
    ) -> None:
        self.context, self.model, self.size = context, copy.deepcopy(network), size
        self.images, self.validation = sides["train"], sides["validation"]
        weights = head.class_weights(self.images.targets, len(context.labels))
        self.weights = torch.from_numpy(weights).to(context.device)
        self.seed = context.params.seed
        self.right: list[Tensor] = []

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW; layers near the input, which know edges and textures, learn more slowly."""
        rate = self.context.params.learning_rate or RECIPE.rate
        layers = [self.model.stem, *self.model.blocks, self.model.top]
        groups: list[dict[str, Any]] = []
        for depth, layer in enumerate(layers):
            lr = rate * RECIPE.decay_of_layers ** (len(layers) - 1 - depth)
            for decays in (True, False):
                parameters = [p for p in layer.parameters() if (p.dim() > 1) == decays]
                groups.append({"params": parameters, "lr": lr, "weight_decay": RECIPE.weight_decay * decays})
        head_rate = rate * RECIPE.head_rate / RECIPE.rate
        groups.append({"params": self.model.head.parameters(), "lr": head_rate})
        return torch.optim.AdamW(groups, weight_decay=RECIPE.weight_decay)

    def batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Augmented batches; the next one is made while this one is used."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.images))
        places = [order[start : start + RECIPE.batch] for start in range(0, len(order), RECIPE.batch)]
        with ThreadPoolExecutor(max(1, self.context.threads)) as pool:
            ahead = [
                pool.submit(self._view, epoch, index) for some in places[first : first + 1] for index in some
            ]
            for number in range(first, len(places)):
                rows = np.stack([one.result() for one in ahead])
                ahead = [
                    pool.submit(self._view, epoch, index)
                    for some in places[number + 1 : number + 2]
                    for index in some
                ]
                yield Batch(rows, self.images.targets[places[number]])

    def _view(self, epoch: int, index: int) -> Pixels:
        random = np.random.default_rng((self.seed, 1, epoch, index))
        return augment.view(self.images.large[index], self.size, augment.Policy(), random)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy with smoothed labels; half of the batches are mixed with themselves (mixup)."""
        x = exporter.to_input(batch.rows, self.context.device)
        targets = torch.from_numpy(batch.targets).to(self.context.device)
        random = np.random.default_rng(torch.initial_seed())
        if random.random() < 0.5:
            scores = self.model(x)
            self.right.append((scores.argmax(1) == targets).float())
            return self._cross_entropy(scores, targets)
        share = float(random.beta(RECIPE.mixup, RECIPE.mixup))
        other = torch.from_numpy(random.permutation(len(targets))).to(x.device)
        scores = self.model(share * x + (1 - share) * x[other])
        return share * self._cross_entropy(scores, targets) + (1 - share) * self._cross_entropy(
            scores, targets[other]
        )

    def _cross_entropy(self, scores: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(
            scores.float(), targets, self.weights, label_smoothing=RECIPE.smoothing
        )

    def score(self, model: torch.nn.Module) -> Score:
        """The score on validation."""
        assert isinstance(model, EfficientNetLite)
        score = judge(model, self.validation, self.context)
        if not self.right:
            return score
        accuracy, self.right = float(torch.cat(self.right).mean()), []
        return Score(score.value, {"accuracy": accuracy, **score.rows})


@dataclass(frozen=True)
class Batch:
    """Images (n, size, size, 3) as bytes, and their classes."""

    rows: Pixels
    targets: head.Targets

    def __len__(self) -> int:
        return len(self.targets)
