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
from plugins.classification.judging import Judgement, judge
from plugins.classification.params import ClassificationParams
from plugins.classification.preprocess import Pixels
from plugins.contract import Draft, PluginError, TrainingContext, TrainingStopped
from plugins.fitting import Plan, Score

BASES = {"classification-high-performance": bases.LITE0}

CHECKPOINT_SECONDS = 15.0
_CHUNK = 32
_RESERVE = 3.0  # seconds to write the model


@dataclass(frozen=True)
class Recipe:
    """How fine-tuning is done; what was measured stands in benchmarks/classification.md."""

    views: int = 12_000
    batch: int = 16
    rate: float = 2e-4
    head_rate: float = 2e-4
    decay_of_layers: float = 0.85
    weight_decay: float = 0.02
    smoothing: float = 0.1
    mixup: float = 0.4
    mixed: float = 0.7
    average: float = 0.98
    frozen: int = 4  # blocks nearest to the input that stay as they are

    def epochs_for(self, images: int) -> int:
        """Epochs that show so many views altogether, within reason."""
        return min(max(round(self.views / images), 8), 60)


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
    strength = _start(context, network, sides)
    _calibrate(context, network, sides["validation"])
    stage = "head"
    if params.fine_tune and not context.should_stop():
        stage = _fine_tune(context, network, sides, size)
        _calibrate(context, network, sides["validation"])
    context.fact("stage", stage)
    model = exporter.export(network, context.labels, size, context.folder / "draft")
    facts = {"stage": stage, "head_strength": strength, "train_images": len(sides["train"])}
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


def _start(context: TrainingContext, network: EfficientNetLite, sides: Mapping[str, Images]) -> float:
    """Stage 1: put a fitted last layer into the network, or the one of an earlier attempt; its strength."""
    path = context.folder / "head.safetensors"
    started = time.monotonic()
    if path.is_file():
        layer, record = fitting.read_checkpoint(path)
        network.head.load_state_dict(layer)
    else:
        fitted = _fit_head(context, network, sides["train"])
        record = {"strength": fitted.strength}
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(fitted.weight))
            network.head.bias.copy_(torch.from_numpy(fitted.bias))
        context.checkpoint()
        fitting.write_checkpoint(path, network.head.state_dict(), record)
    rows = _rows(_judge(context, network, sides["validation"]), sides["validation"])
    seconds = time.monotonic() - started
    context.fact("head_seconds", round(seconds, 1))
    for name, value in rows.items():
        context.report(name, value, epoch=0)
    context.log(f"A first model is ready after {seconds:.0f} s{_in_words(rows)}.")
    strength: float = record["strength"]
    return strength


def _fit_head(context: TrainingContext, network: EfficientNetLite, images: Images) -> head.Head:
    """Fit the last layer on features of the images and of their mirror images."""
    views = [_features(context, network, images.plain)]
    if len(views[0]) < len(images):
        raise TrainingStopped("stopped before there was a model")
    if not context.should_stop():
        mirrored = _features(context, network, images.plain[:, :, ::-1])
        views += [mirrored] if len(mirrored) == len(images) else []
    groups = np.array([example.group or example.content_hash for example in images.examples])
    return head.fit(np.stack(views), images.targets, groups, len(context.labels), stop=context.should_stop)


def _rows(judgement: Judgement, validation: Images) -> dict[str, float]:
    """What is reported of a judgement: nothing when there was nothing to judge by."""
    if not len(validation):
        return {}
    return {"validation_loss": judgement.log_loss, "validation_accuracy": judgement.accuracy}


def _calibrate(context: TrainingContext, network: EfficientNetLite, validation: Images) -> None:
    """Scale the scores so that confidences are neither too high nor too low; the order of classes stays."""
    temperature = _judge(context, network, validation).temperature
    with torch.no_grad():
        network.head.weight.div_(temperature)
        network.head.bias.div_(temperature)
    context.fact("temperature", round(temperature, 3))


def _in_words(rows: Mapping[str, float]) -> str:
    accuracy = rows.get("validation_accuracy")
    return "" if accuracy is None else f": {accuracy:.1%} of the validation images are right"


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
def _judge(context: TrainingContext, network: EfficientNetLite, images: Images) -> Judgement:
    """Judge the network on plain images."""
    network.eval()
    scores = [
        network(exporter.to_input(images.plain[start : start + _CHUNK], context.device)).float().cpu()
        for start in range(0, len(images), _CHUNK)
    ]
    return judge(torch.cat(scores).numpy() if scores else np.empty((0, 1), np.float32), images.targets)


def _fine_tune(
    context: TrainingContext, network: EfficientNetLite, sides: Mapping[str, Images], size: int
) -> str:
    """Stage 2: train all of the network; it then holds what is best, which may be its start."""
    work = FineTuning(context, network, sides, size)
    started = time.monotonic()
    _judge(context, network, sides["validation"])
    plan = Plan(
        epochs=context.params.epochs or RECIPE.epochs_for(len(sides["train"])),
        batches=-(-len(sides["train"]) // RECIPE.batch),
        average=RECIPE.average,
        # The candidates are judged after training, and then the model is written and evaluated.
        reserve=_RESERVE + 8 * (time.monotonic() - started),
        seed=context.params.seed,
        checkpoint_seconds=CHECKPOINT_SECONDS,
    )
    fitted = fitting.fit(context, work, plan)
    context.fact("epochs", round(fitted.epochs, 2))
    context.fact("ending", fitted.ending)
    share = _choose(context, network, fitted, sides["validation"])
    stage = "fine-tuned" if share > 0 else "head"
    context.fact("fine_tuned_share", share)
    context.log(f"Training {fitted.ending} after {fitted.epochs:.1f} epochs; the {stage} model is kept.")
    return stage


def _choose(
    context: TrainingContext, network: EfficientNetLite, fitted: fitting.Fitted, validation: Images
) -> float:
    """Put the best weights into the network: those of the best epoch, of the end, or on the way there from
    the start, where networks are often better than at either end (Wortsman et al., arXiv:2109.01903).

    The share of the way that was kept: 0 is the start.
    """
    start = {name: value.clone() for name, value in network.state_dict().items()}
    candidates = [(1.0, fitted.last), (0.7, fitted.last), (0.4, fitted.last)] if len(validation) else []
    if not len(validation):  # nothing to judge by: trust the training, if it came to an end
        chosen = (0.0, fitted.best) if fitted.ending == "stopped" else (1.0, fitted.last)
    else:
        chosen = (float(fitted.best_epoch > 0), fitted.best)
    best = -fitted.score
    for share, weights in candidates:
        if fitted.ending == "stopped" or context.should_stop():
            break
        mixed = {name: torch.lerp(start[name], value, share) for name, value in weights.items()}
        network.load_state_dict(mixed)
        loss = _judge(context, network, validation).log_loss
        if loss < best:
            best, chosen = loss, (share, mixed)
    network.load_state_dict(chosen[1])
    return chosen[0]


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
        for layer in layers[: RECIPE.frozen + 1 if RECIPE.frozen else 0]:
            layer.requires_grad_(False)
        groups: list[dict[str, Any]] = []
        for depth, layer in enumerate(layers):
            lr = rate * RECIPE.decay_of_layers ** (len(layers) - 1 - depth)
            for decays in (True, False):
                parameters = [p for p in layer.parameters() if p.requires_grad and (p.dim() > 1) == decays]
                if not parameters:
                    continue
                groups.append({"params": parameters, "lr": lr, "weight_decay": RECIPE.weight_decay * decays})
        head_rate = rate * RECIPE.head_rate / RECIPE.rate
        groups.append({"params": self.model.head.parameters(), "lr": head_rate})
        return torch.optim.AdamW(groups, weight_decay=RECIPE.weight_decay, fused=True)

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
        """Cross-entropy with smoothed labels; most batches are mixed with themselves (mixup)."""
        x = exporter.to_input(batch.rows, self.context.device)
        targets = torch.from_numpy(batch.targets).to(self.context.device)
        random = np.random.default_rng(torch.initial_seed())
        mixes = random.random() < RECIPE.mixed
        share = float(random.beta(RECIPE.mixup, RECIPE.mixup)) if mixes else 1.0
        share = max(share, 1 - share)  # the first one is the one to recognise
        other = torch.from_numpy(random.permutation(len(targets))).to(x.device)
        scores = self.model(torch.lerp(x[other], x, share))
        self.right.append((scores.argmax(1) == targets).float())
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
        judgement = _judge(self.context, model, self.validation)
        rows = _rows(judgement, self.validation)
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
