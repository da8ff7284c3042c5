"""A trained classifier on ONNX Runtime; imports no framework, opens in tens of milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from plugins.classification import evidence, preprocess
from plugins.classification.trust import Trust
from plugins.contract import Decision, DecodedImage, Evidence, Output, PluginError, Prediction
from plugins.sessions import open_session

_BATCH = 32  # larger ones are not faster and take more memory

Floats = npt.NDArray[np.float32]


class ClassificationPredictor:
    """Maps images to class probabilities; thread-safe, as an ONNX Runtime session is.

    The graph answers `probabilities` (images, classes); graphs of one network also `features`
    (images, channels), what its last layer sees, and `maps` (images, channels, height, width), of which the
    features are the mean. Only what is needed is asked for.
    """

    def __init__(
        self,
        session: Any,
        labels: Sequence[str],
        size: int,
        *,
        trust: Trust | None = None,
        head: evidence.Head | None = None,
    ) -> None:
        self._session, self._labels, self._size = session, tuple(labels), size
        self._places = {label: place for place, label in enumerate(self._labels)}
        known = {output.name for output in session.get_outputs()}
        self._trust = trust
        self._head = head if "maps" in known else None
        # A model of several networks has no features: its decisions rest on the confidence alone.
        self.has_features = "features" in known
        needed = trust is not None and trust.reference is not None and self.has_features
        self._needed = ("probabilities", "features") if needed else ("probabilities",)

    @property
    def wanted_side(self) -> int:
        """The side of the network's square input in pixels."""
        return self._size

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """All classes by falling confidence, an image. Raises `PluginError`."""
        return [
            prediction
            for start in range(0, len(images), _BATCH)
            for prediction in self._predict(preprocess.batch(images[start : start + _BATCH], self._size))
        ]

    def probabilities(self, rows: preprocess.Pixels) -> Floats:
        """(images, size, size, 3) bytes -> (images, classes), each row summing to 1. Raises `PluginError`."""
        (probabilities,) = self.outputs(rows, "probabilities")
        return probabilities

    def embed(self, images: Sequence[DecodedImage]) -> Floats:
        """Pooled features (images, width); see `plugins.contract.Embedder`."""
        if not self.has_features:
            raise PluginError("no_features", "this model joins several networks and has no features")
        parts = [
            self.outputs(preprocess.batch(images[start : start + _BATCH], self._size), "features")[0]
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)

    def outputs(self, rows: preprocess.Pixels, *names: str) -> list[Floats]:
        """(images, size, size, 3) bytes -> the graph's outputs of these names. Raises `PluginError`."""
        try:
            answers: list[Floats] = self._session.run(list(names), {"images": rows})
        except Exception as error:  # ONNX Runtime has no common base class for what it raises
            raise PluginError("model_failed", f"the model failed: {error}") from error
        if not all(np.isfinite(answer).all() for answer in answers):
            raise PluginError("model_failed", "the model answered a value that is not a number")
        return answers

    def explain(self, images: Sequence[DecodedImage], labels: Sequence[str] | None = None) -> list[Evidence]:
        """Class activation maps of the last feature maps; see `plugins.contract.Explainer`."""
        if self._head is None:
            raise PluginError(
                "cannot_explain",
                "this model has no evidence maps: it joins several networks or views, or was exported by an "
                "older release; a model trained anew with one network has them",
            )
        wanted = None if labels is None else [self._place(label) for label in labels]
        if wanted is not None and len(wanted) != len(images):
            raise ValueError(f"{len(wanted)} labels for {len(images)} images")
        return [
            found
            for start in range(0, len(images), _BATCH)
            for found in self._evidence(
                self._head,
                preprocess.batch(images[start : start + _BATCH], self._size),
                wanted and wanted[start : start + _BATCH],
            )
        ]

    def _evidence(
        self, head: evidence.Head, rows: preprocess.Pixels, wanted: Sequence[int] | None
    ) -> list[Evidence]:
        probabilities, maps = self.outputs(rows, "probabilities", "maps")
        targets = probabilities.argmax(1) if wanted is None else np.array(wanted, np.intp)
        found = evidence.shares(maps, head, targets)
        return [
            evidence.evidence(self._labels[place], share)
            for place, share in zip(targets.tolist(), found, strict=True)
        ]

    def _place(self, label: str) -> int:
        if label not in self._places:
            raise PluginError("unknown_label", f"the model knows no class {label!r}")
        return self._places[label]

    def _predict(self, rows: preprocess.Pixels) -> list[Prediction]:
        probabilities, *features = self.outputs(rows, *self._needed)
        if self._trust is None:
            return [Prediction(self._outputs(row)) for row in probabilities]
        decided = self._trust.decide(probabilities, features[0] if features else None)
        return [
            Prediction(self._outputs(row), Decision(None if place is None else self._labels[place], reason))
            for row, (place, reason) in zip(probabilities, decided, strict=True)
        ]

    def _outputs(self, row: Floats) -> tuple[Output, ...]:
        order = np.argsort(-row, kind="stable").tolist()
        confidences = row.tolist()
        return tuple(Output(self._labels[index], min(max(confidences[index], 0.0), 1.0)) for index in order)


def open_predictor(folder: Path, model: Mapping[str, Any], *, threads: int) -> ClassificationPredictor:
    """Open the model of a bundle or draft; see `plugins.contract.OpenPredictor`. Raises `PluginError`."""
    try:
        # From bytes: a model read this way cannot refer to other files of the host.
        session = open_session((folder / model["file"]).read_bytes(), threads=threads)
    except Exception as error:  # see ClassificationPredictor.outputs
        raise PluginError("model_unreadable", f"the model cannot be opened: {error}") from error
    labels = model["labels"]
    return ClassificationPredictor(
        session,
        labels,
        int(model["image_size"]),
        trust=Trust.open(folder, model),
        head=evidence.read_head(folder, len(labels)),
    )
