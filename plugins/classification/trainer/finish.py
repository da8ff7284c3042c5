"""The last part of training: int8 where it is as good, and what the exported model may be trusted with.

All of it asks the exported model, so what is learned here holds for what is served.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from plugins.classification import int8, suspects, trust_fitting, usefulness
from plugins.classification.cache import Images
from plugins.classification.intervals import wilson
from plugins.classification.predictor import ClassificationPredictor, open_predictor
from plugins.classification.trainer.start import Start
from plugins.classification.trust_fitting import Answers
from plugins.classification.usefulness import Unseen
from plugins.contract import TrainingContext
from plugins.spread import spread

_HURRIED = 48  # images a side that a stopped training still asks about
_TELLING = 400  # validation images that show whether anything was learned
_TOGETHER = 32
_MOST_OF = 0.8  # the share of the classes that has to take part


def finish(
    context: TrainingContext,
    folder: Path,
    model: Mapping[str, Any],
    sides: Mapping[str, Images],
    start: Start,
    stage: str,
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The model part of the manifest with what is served and trusted, and facts for people. `stage` is what
    was kept: `head` is the first model, which cross-validation was about.

    A user who stops a training gets the model at once: in fp32, and with what a few images say of it.
    """
    offered = int8.offer(
        folder,
        model,
        calibration=sides["train"].plain,
        validation=sides["validation"].plain,
        targets=sides["validation"].targets,
        threads=context.threads,
        stop=context.stop_requested,
        log=context.log,
    )
    if context.stop_requested():
        sides = {name: _some(images, _HURRIED) for name, images in sides.items()}
    unseen, listed = _out_of_fold(context, sides["train"], start)
    classes = len(np.unique(sides["train"].targets))
    trusted = trust_fitting.fit_draft(
        folder,
        offered.model,
        sides,
        out_of_fold=unseen if unseen and tells_of_all(unseen, classes) else None,
        precision=context.params.precision,
        threads=context.threads,
    )
    facts: dict[str, Any] = {"int8": dict(offered.facts)}
    if unseen is not None:
        facts |= {"label_suspects": listed, "label_suspects_among": len(unseen.targets)}
        context.fact("label_suspects", len(listed))
        told = in_words(unseen, classes)
        facts["cross_validation_of_the_first_model"] = told
        context.log(f"Cross-validation on the training images: the first model has {told} right.")
    predictor = open_predictor(folder, offered.model, threads=context.threads)
    if told := usefulness.warning(_looked_at(predictor, sides, unseen, stage), context.labels):
        facts["warning"] = told
        context.fact("warning", told)
        context.log(told)
    context.fact("served", offered.facts["served"])
    return {**offered.model, "trust": trusted}, facts


def tells_of_all(unseen: Answers, classes: int) -> bool:
    """Whether enough of the classes took part in cross-validation for it to be about as hard as with all."""
    return len(np.unique(unseen.targets)) >= _MOST_OF * classes


def in_words(unseen: Answers, classes: int) -> str:
    """How much was right in cross-validation, with its 95 % interval, and among what where it was easier."""
    right = float((unseen.probabilities.argmax(1) == unseen.targets).mean())
    low, high = wilson(round(right * len(unseen.targets)), len(unseen.targets))
    told = f"{right:.1%} of {len(unseen.targets)} images ({low:.1%} to {high:.1%})"
    if tells_of_all(unseen, classes):
        return told
    return f"{told} among {len(np.unique(unseen.targets))} of the {classes} classes"


def _looked_at(
    predictor: ClassificationPredictor, sides: Mapping[str, Images], unseen: Answers | None, stage: str
) -> list[Unseen]:
    """What shows whether the model has learned anything. Cross-validation was of the first model: another one
    must know its own images before that counts for it.
    """
    validation = _answers_of(predictor, sides["validation"], "of the validation side")
    if stage != "head":
        learned = _answers_of(predictor, sides["train"], "to learn from")
        if not usefulness.is_better(learned):
            return [learned]
    if unseen is None:
        return [validation]
    cross = unseen.probabilities.argmax(1)
    return [validation, Unseen(cross, unseen.targets, "in cross-validation")]


def _answers_of(predictor: ClassificationPredictor, images: Images, where: str) -> Unseen:
    """What the model answers for some of the images."""
    some = _some(images, _TELLING)
    parts = [
        predictor.probabilities(np.ascontiguousarray(some.plain[start : start + _TOGETHER])).argmax(1)
        for start in range(0, len(some), _TOGETHER)
    ]
    answers = np.concatenate([np.empty(0, np.int64), *parts])
    return Unseen(answers, some.targets, where)


def _out_of_fold(
    context: TrainingContext, images: Images, start: Start
) -> tuple[Answers | None, list[dict[str, Any]]]:
    """What cross-validation said of the training images, and those whose label is probably wrong."""
    if len(start.out_of_fold) != len(images):  # none, or only some images are left
        return None, []
    part = np.flatnonzero(np.isfinite(start.out_of_fold).all(1))
    probabilities, targets = start.out_of_fold[part], images.targets[part]
    keys = [images.examples[index].key for index in part.tolist()]
    listed = suspects.find(keys, targets, probabilities, context.labels)
    if listed:
        context.log(f"{len(listed)} labels are probably wrong; the model card lists them.")
    return Answers(probabilities, None, targets), listed


def _some(images: Images, most: int) -> Images:
    """Evenly spread over the classes, as far as they are in order of their names."""
    chosen = spread(len(images), most)
    return replace(
        images,
        examples=[images.examples[index] for index in chosen.tolist()],
        plain=images.plain[chosen],
        large=images.large[chosen],
        targets=images.targets[chosen],
    )
