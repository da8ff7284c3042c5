"""A model's answer as Label Studio keeps it: one prediction with `result`, `score` and `model_version`."""

from __future__ import annotations

import math
from typing import Any

import structlog

from backend.models.opening import OpenedModel
from backend.models.predicting import Outcome
from plugins.contract import PluginError, Prediction

logger = structlog.get_logger()

Body = dict[str, Any]


class NoBody(Exception):
    """The answer cannot be shown in Label Studio; the message says why."""


def score_of(prediction: Prediction) -> float:
    """How sure the model is of the whole image, in 0..1: of its most likely class, or of its regions on
    average. An image without regions has 0, so that it comes first where the unsure ones do.

    Raises `NoBody` for what is no number.
    """
    outputs = prediction.outputs
    regions = [output.conf for output in outputs if output.pos is not None]
    values = regions or [output.conf for output in outputs[:1]]
    score = sum(values) / len(values) if values else 0.0
    if not math.isfinite(score):
        raise NoBody("the model gave no number for this image")
    return min(max(score, 0.0), 1.0)


def body(opened: OpenedModel, outcome: Outcome, version: str) -> Body:
    """The prediction of one image, a score at the image and at each of its results. Raises `NoBody`."""
    if outcome.prediction is None:
        raise NoBody(outcome.reason)
    score = score_of(outcome.prediction)
    try:
        result = opened.labeling.result_from_prediction(
            outcome.prediction, width=outcome.width, height=outcome.height
        )
    except PluginError as error:
        raise NoBody(str(error)) from None
    except Exception as error:  # the code of others
        logger.error("the plugin raised what was not foreseen", exc_info=error)
        raise NoBody("the model's answer cannot be shown; the log says why") from None
    return {
        "result": [{"score": score, **entry} for entry in result],
        "score": score,
        "model_version": version,
    }
