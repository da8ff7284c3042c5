"""A plugin whose model tells red, green and blue, and misbehaves for images of a certain size."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from plugins.contract import (
    Algorithm,
    Decision,
    DecodedImage,
    Evidence,
    Output,
    Plugin,
    PluginError,
    Prediction,
)

REFUSED, UNFORESEEN, DEADLY, HELD, NOT_A_NUMBER, UNEXPLAINED = 13, 14, 15, 16, 17, 18  # pixels of width


@dataclass(frozen=True)
class NoParams:
    pass


PLUGIN = Plugin(
    name="tiny",
    title="Tiny",
    dataset_type="tiny",
    label_form="class",
    algorithms=(Algorithm("tiny", "Tiny", "For tests.", NoParams),),
    headline="accuracy",
    trainer="tests.model_server.tiny_plugin:none",
    predictor="tests.model_server.tiny_plugin:open_predictor",
    evaluator="tests.model_server.tiny_plugin:none",
    illustrator="tests.model_server.tiny_plugin:none",
    labeling="tests.model_server.tiny_plugin",
)


class TinyPredictor:
    wanted_side: int | None = None

    def __init__(self, folder: Path, model: Mapping[str, Any], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._labels = model["labels"]
        self._hold = Path(model["hold"])

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        for image in images:
            self._misbehave(image.width)
        pixels = np.stack([np.asarray(entry.image.resize((8, 8)), np.float32) / 255 for entry in images])
        (scores,) = self._session.run(None, {"pixels": pixels})
        if any(image.width == NOT_A_NUMBER for image in images):
            scores = scores * float("nan")
        return [self._prediction(row) for row in scores]

    def _misbehave(self, width: int) -> None:
        if width == REFUSED:
            raise PluginError("refused", "the model does not like this image")
        if width == UNFORESEEN:
            raise KeyError("/secret/path of the server")
        if width == DEADLY:
            os.abort()
        while width == HELD and self._hold.exists():
            time.sleep(0.01)

    def _prediction(self, scores: Sequence[float]) -> Prediction:
        order = sorted(range(len(self._labels)), key=lambda at: -scores[at])
        return Prediction(tuple(Output(self._labels[at], float(scores[at])) for at in order))


class TinyExplainer(TinyPredictor):
    """Is sure of red and of nothing else; its evidence is the image's width in hundreds of pixels."""

    can_explain = True

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        return [Prediction(one.outputs, self._decision(one)) for one in super().predict(images)]

    def _decision(self, prediction: Prediction) -> Decision:
        best = prediction.outputs[0].label
        return Decision(best) if best.startswith("red") else Decision(None, "not_sure")

    def explain(self, images: Sequence[DecodedImage], labels: Sequence[str] | None = None) -> list[Evidence]:
        if not self.can_explain:
            raise PluginError("cannot_explain", "this model is too old for it")
        if any(image.width == UNEXPLAINED for image in images):
            raise PluginError("odd", "there is nothing to see here")
        return [
            Evidence(label, ((image.width / 100, -1.0),), 2.5)
            for image, label in zip(images, labels or (), strict=True)
        ]


def open_predictor(folder: Path, model: Mapping[str, Any], *, threads: int) -> TinyPredictor:
    if "cannot_open" in model:
        raise PluginError("cannot_open", model["cannot_open"])
    if model.get("dies"):
        os.abort()
    if "can_explain" in model:
        explainer = TinyExplainer(folder, model, threads)
        explainer.can_explain = model["can_explain"]
        return explainer
    return TinyPredictor(folder, model, threads)


def none() -> None:
    raise NotImplementedError
