"""A trained classifier on ONNX Runtime; imports no framework, opens in tens of milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from plugins.classification import preprocess
from plugins.contract import DecodedImage, Output, PluginError, Prediction

_BATCH = 32  # larger ones are not faster and take more memory


class ClassificationPredictor:
    """Maps images to class probabilities; thread-safe, as an ONNX Runtime session is."""

    def __init__(self, session: Any, labels: Sequence[str], size: int) -> None:
        self._session, self._labels, self._size = session, tuple(labels), size

    @property
    def wanted_side(self) -> int:
        """The side of the network's square input in pixels."""
        return self._size

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """All classes by falling confidence, an image. Raises `PluginError`."""
        return [
            self._prediction(row)
            for start in range(0, len(images), _BATCH)
            for row in self.probabilities(preprocess.batch(images[start : start + _BATCH], self._size))
        ]

    def probabilities(self, rows: preprocess.Pixels) -> npt.NDArray[np.float32]:
        """(images, size, size, 3) bytes -> (images, classes), each row summing to 1. Raises `PluginError`."""
        try:
            (answer,) = self._session.run(None, {"images": rows})
        except Exception as error:  # ONNX Runtime has no common base class for what it raises
            raise PluginError("model_failed", f"the model failed: {error}") from error
        probabilities: npt.NDArray[np.float32] = answer
        if not np.isfinite(probabilities).all():
            raise PluginError("model_failed", "the model answered a value that is not a number")
        return probabilities

    def _prediction(self, row: npt.NDArray[np.float32]) -> Prediction:
        order = np.argsort(-row, kind="stable").tolist()
        confidences = row.tolist()
        return Prediction(
            tuple(Output(self._labels[index], min(max(confidences[index], 0.0), 1.0)) for index in order)
        )


def open_predictor(folder: Path, model: Mapping[str, Any], *, threads: int) -> ClassificationPredictor:
    """Open the model of a bundle or draft; see `plugins.contract.OpenPredictor`. Raises `PluginError`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait halve the speed when anything else uses the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # From bytes: a model read this way cannot refer to other files of the host.
        session = onnxruntime.InferenceSession(
            (folder / model["file"]).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # see probabilities
        raise PluginError("model_unreadable", f"the model cannot be opened: {error}") from error
    return ClassificationPredictor(session, model["labels"], int(model["image_size"]))
