"""Going on from the model before: its networks, where they do better than the pretrained ones.

When images were added or texts corrected, most of what the last training learned still holds. Both starts are
judged on the validation images, from none of which the model before has learned.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import safetensors

from plugins.contract import Example, Previous, TrainingContext
from plugins.ocr import exporter
from plugins.ocr.bases import Base, Detector, Recogniser, cut, go_on
from plugins.ocr.predictor import Thresholds
from plugins.ocr.predictor.detection import thresholds_of
from plugins.previous import Unfit, say_or_refuse

_EFFORT = 2.0  # an image that is new earns this many times the training that it had in one from the start
_LEAST_EFFORT = 0.1  # corrected texts do not show as new images


@dataclass(frozen=True)
class Former:
    """The networks of a model before, its recogniser answering the characters to learn now."""

    detector: Detector
    recogniser: Recogniser
    thresholds: Thresholds


def former(context: TrainingContext, base: Base, recogniser: Recogniser) -> Former | None:
    """The networks of the model to go on from; None, said in the log, where there is none that fits.

    `recogniser` is the base's, cut to the characters to learn. Raises `PluginError` (`previous_differs`) when
    the user named a model that does not fit.
    """
    previous = context.previous
    if previous is None:
        return None
    try:
        return _former(previous, base, recogniser)
    except Unfit as reason:
        say_or_refuse(context, previous, base.name, reason)
        return None


def effort(previous: Previous, examples: Sequence[Example]) -> float:
    """Share of the time of a training from the start that these images to train on are worth."""
    new = sum(one.content_hash not in previous.trained for one in examples)
    return min(1.0, max(_LEAST_EFFORT, _EFFORT * new / max(len(examples), 1)))


def _former(previous: Previous, base: Base, recogniser: Recogniser) -> Former:
    if dict(previous.base.get("files", {})) != base.files or previous.base.get("name") != base.name:
        raise Unfit(f"was made from {previous.base.get('name', 'other networks')}, not from {base.name}")
    model = previous.model
    detector, own = copy.deepcopy((base.detector, recogniser))
    try:
        cut(own, model["vocabulary"], model["recogniser"].get("forms"))
        exporter.read_weights(detector, own, previous.folder / exporter.WEIGHTS)
        thresholds = thresholds_of(model["detector"])
    except FileNotFoundError:
        raise Unfit(f"has no {exporter.WEIGHTS}") from None
    except (RuntimeError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
        raise Unfit("holds the weights of other networks") from None
    return Former(detector, go_on(own, recogniser), thresholds)
