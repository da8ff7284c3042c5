"""Training and prediction of the nearest-mean classifier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from plugins import images
from plugins.contract import DecodedImage, Draft, Output, Prediction, TrainingContext, TrainingStopped

Floats = npt.NDArray[np.float64]


def train(context: TrainingContext) -> Draft:
    """One mean a class."""
    side, means = context.params.side, {}
    for label in context.labels:
        if context.should_stop():
            raise TrainingStopped("stopped before there was a model")
        own = [example for example in context.examples("train") if example.label == label]
        means[label] = np.mean([_pattern(images.decode(context.read(one)).image, side) for one in own], 0)
    folder = context.folder / "draft"
    folder.mkdir(exist_ok=True)
    (folder / "means.json").write_text(json.dumps([means[label].tolist() for label in context.labels]))
    context.report("classes", len(means), epoch=1)
    return Draft(folder, {"labels": list(context.labels), "side": side}, {})


def _pattern(image: Image.Image, side: int) -> Floats:
    return np.asarray(image.resize((side, side), Image.Resampling.BOX), np.float64).ravel() / 255


class NearestMean:
    """Confidence falls with the distance to a class's mean."""

    wanted_side = None

    def __init__(self, means: Floats, labels: Sequence[str], side: int) -> None:
        self.means, self.labels, self.side = means, labels, side

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """All classes by falling confidence."""
        return [self._one(_pattern(decoded.image, self.side)) for decoded in images]

    def _one(self, pattern: Floats) -> Prediction:
        scores = np.exp(-10 * np.square(self.means - pattern).mean(1))
        shares = scores / scores.sum()
        order = np.argsort(-shares)
        return Prediction(tuple(Output(self.labels[index], float(shares[index])) for index in order))


def open_predictor(folder: Path, model: Mapping[str, Any], *, threads: int) -> NearestMean:
    """Open a draft or bundle; one thread is enough."""
    means = np.array(json.loads((folder / "means.json").read_text()))
    return NearestMean(means, model["labels"], model["side"])
