"""Training of a classifier in two stages: the last layer on features of the pretrained network, ready within
seconds, and from there fine-tuning of the whole network. What is best on validation is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from plugins.classification import bases, cache, exporter
from plugins.classification.bases.choice import HIGH_PRECISION, Choice, choose
from plugins.classification.cache import Images
from plugins.classification.catalogue import LITE0
from plugins.classification.preprocess import PRECISE_SIZES, SIZES
from plugins.classification.trainer.finetune import begun, fine_tune, recipe_of
from plugins.classification.trainer.finish import finish
from plugins.classification.trainer.inference import calibrate
from plugins.classification.trainer.previous import take_over
from plugins.classification.trainer.start import start
from plugins.contract import Draft, Example, PluginError, TrainingContext


def train(context: TrainingContext) -> Draft:
    """See `plugins.contract.Train`. Raises `PluginError` (`too_few_classes`, `too_few_images`, and those of
    `plugins.fitting`) and `TrainingStopped`.
    """
    precise = context.algorithm == HIGH_PRECISION
    torch.set_num_threads(max(1, context.threads))
    context.folder.mkdir(parents=True, exist_ok=True)
    _check(context, context.examples("train"))  # before weights are downloaded for nothing
    choice, size = _base_and_size(context, precise)
    base = choice.base
    sides = {split: cache.decode(context, split, size) for split in ("train", "validation")}
    _check(context, sides["train"].examples)
    _state_facts(context, sides, base, size)
    context.fact("base_reason", choice.reason)
    network = bases.load(base, len(context.labels), choice.weights).to(context.device)
    began = start(context, network, sides)
    network.both_ways = began.mirrored and precise
    going_on = take_over(context, network, base, sides)
    calibrate(context, network, sides["validation"])
    stage = "head"
    # What an earlier attempt has trained is kept, also when its worker was lost after the time was up.
    if context.params.fine_tune and (begun(context) or not context.should_stop()):
        usual = recipe_of(base, began.mistakes(sides["train"].targets))
        stage = fine_tune(
            context, network, sides, going_on or usual, mirrored=began.mirrored, excess=began.excess
        )
        if stage != "head":
            calibrate(context, network, sides["validation"])
    if going_on and stage == "head":
        stage = "previous model"
    context.fact("stage", stage)
    model = exporter.export(network, context.labels, size, context.folder / "draft")
    model, found = finish(context, context.folder / "draft", model, sides, began, stage)
    facts = {
        "stage": stage,
        "head_strength": began.strength,
        "lower_layers": began.share,
        "mirror_images": began.mirrored,
        "train_images": len(sides["train"]),
        **found,
    }
    if going_on and context.previous:
        facts["parent"] = context.previous.name
    return Draft(context.folder / "draft", model, base.origin, facts)


def _base_and_size(context: TrainingContext, precise: bool) -> tuple[Choice, int]:
    """The network to start from, and the side in pixels of its input."""
    wanted: int | None = context.params.image_size
    size = wanted or cache.choose_size(context, PRECISE_SIZES if precise else SIZES)
    choice = choose(context, len(context.examples("train")), size)
    if choice.base is LITE0 and not wanted:
        size = min(size, choice.base.image_size)
    return choice, size


def _check(context: TrainingContext, examples: Sequence[Example]) -> None:
    """Refuse what no classifier can be made of."""
    if len(context.labels) < 2:
        raise PluginError("too_few_classes", "a classifier needs at least two classes; choose more labels")
    if len({one.label for one in examples} & set(context.labels)) < 2:
        raise PluginError("too_few_images", "at least two classes need images to train on; label more images")


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
    counts = np.bincount(sides["train"].targets, minlength=len(context.labels))
    for label, count in zip(context.labels, counts, strict=True):
        if count == 0:
            context.log(f"The class {label} has no image to train on; it will not be predicted.")
