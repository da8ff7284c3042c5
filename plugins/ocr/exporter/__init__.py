"""Trained networks as ONNX, checked against the networks: a draft that the predictor opens.

PP-OCR's graphs are the published ones with the trained weights written into them: exact, in a tenth of a
second. docTR's go through `torch.onnx.export`.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from torch import Tensor, nn

from plugins.contract import Draft, PluginError
from plugins.fitting import whole_file
from plugins.ocr.bases import Base, Detector, Recogniser, cut
from plugins.ocr.bases.onnx_graph import IR_VERSION, OPSET
from plugins.ocr.bases.ppocr import PPOCRDetector, PPOCRRecogniser
from plugins.ocr.predictor.detection import Sides, Thresholds
from plugins.ocr.predictor.language import Language
from plugins.ocr.predictor.network import open_network

DETECTOR, RECOGNISER, BREAKS, LANGUAGE = "detector.onnx", "recogniser.onnx", "breaks.onnx", "language.json"
WEIGHTS = "weights.safetensors"
_TOLERANCE = 1e-4
WIDEST, TURN_BELOW, LEAST_CONFIDENCE = 2_400, 0.9, 0.5
MARGIN = 0.15  # of the height, on untrained receipts worth 1.3 points of end-to-end F1


def export(
    detector: Detector,
    recogniser: Recogniser,
    folder: Path,
    *,
    sides: Sides | None = None,
    thresholds: Thresholds | None = None,
    least_confidence: float = LEAST_CONFIDENCE,
    turn_below: float = TURN_BELOW,
    margin: float = MARGIN,
) -> Mapping[str, Any]:
    """Write both networks and `weights.safetensors` (names begin with `detector.` and `recogniser.`); the
    `Draft.model` that opens them.

    A found line is read with `margin`, times its height, more at both ends. Texts read with less than
    `least_confidence` are not answered; those read with less than `turn_below` are read upside down as well.

    Raises `PluginError`: `disk_full`, or `export_differs` when a file answers otherwise than its network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sides, thresholds = sides or Sides(), thresholds or Thresholds()
    model: dict[str, Any] = {
        "vocabulary": list(recogniser.characters),
        "detector": {
            "file": DETECTOR,
            "input": dict(detector.input.to_json()),
            "least_side": sides.least,
            "most_side": sides.most,
            "thresholds": dict(thresholds.to_json()),
        },
        "recogniser": {
            "file": RECOGNISER,
            "input": dict(recogniser.input.to_json()),
            "widest": WIDEST,
            "turn_below": turn_below,
            "margin": margin,
            "least_confidence": least_confidence,
            "forms": recogniser.forms,
        },
    }
    for network, file in ((detector, DETECTOR), (recogniser, RECOGNISER)):
        training = network.training
        network.eval()
        with whole_file(folder / file) as stream:
            stream.write(graph(network).SerializeToString())
        network.train(training)
    write_weights(detector, recogniser, folder / WEIGHTS)
    for network, said in ((detector, model["detector"]), (recogniser, model["recogniser"])):
        _compare(network, folder, said)
    return model


def divided(model: Mapping[str, Any], folder: Path, breaks: bytes) -> Mapping[str, Any]:
    """The same draft with lines divided where `breaks` says so, the graph that `plugins.ocr.trainer.breaks`
    learns. Raises `PluginError` (`disk_full`).
    """
    with whole_file(folder / BREAKS) as stream:
        stream.write(breaks)
    return {**model, "breaks": {"file": BREAKS}}


def worded(model: Mapping[str, Any], folder: Path, language: Language) -> Mapping[str, Any]:
    """The same draft, which asks this language where a character is in doubt. Raises `PluginError`
    (`disk_full`).
    """
    with whole_file(folder / LANGUAGE) as stream:
        stream.write(json.dumps(dict(language.to_json()), ensure_ascii=False).encode())
    return {**model, "language": {"file": LANGUAGE}}


def write_weights(detector: Detector, recogniser: Recogniser, path: Path) -> None:
    """Both networks' weights, to go on training from. Raises `PluginError` (`disk_full`)."""
    weights = {
        f"{name}.{key}": value.detach().cpu().contiguous()
        for name, network in (("detector", detector), ("recogniser", recogniser))
        for key, value in network.state_dict().items()
    }
    with whole_file(path) as stream:
        stream.write(safetensors.torch.save(weights))


def read_weights(detector: Detector, recogniser: Recogniser, path: Path) -> None:
    """Put written weights into networks of the same base, the recogniser cut to the same characters.

    Raises `RuntimeError` for those of other networks.
    """
    weights = safetensors.torch.load(path.read_bytes())
    for name, network in (("detector", detector), ("recogniser", recogniser)):
        own = {key[len(name) + 1 :]: value for key, value in weights.items() if key.startswith(f"{name}.")}
        network.load_state_dict(own)


def untrained(base: Base, folder: Path, characters: str | None = None) -> Draft:
    """A draft of the base as it is, its recogniser cut to these characters: a first usable model, and what
    trained ones are compared with.
    """
    recogniser = base.recogniser
    if characters is not None:
        recogniser = cut(copy.deepcopy(recogniser), characters)
    model = export(base.detector, recogniser, folder)
    return Draft(folder, model, origin(base), {"trained": False})


def origin(base: Base) -> dict[str, Any]:
    """What the manifest says of the base."""
    return {
        "name": base.name,
        "files": dict(base.files),
        "license": base.license,
        "attribution": base.attribution,
    }


def graph(network: Detector | Recogniser) -> onnx.ModelProto:
    """`images` (batch, 3, height, width), normalised -> `probabilities`; sides and batch of any size."""
    if isinstance(network, PPOCRDetector | PPOCRRecogniser):
        return network.graph()
    height = network.input.height or 64
    example = torch.zeros((2, 3, height, 128))
    free = {0: "batch", 3: "width"} | ({} if network.input.height else {2: "height"})
    last = {0: "batch", 1: "steps"} if network.input.height else {0: "batch", 2: "height", 3: "width"}
    stream = BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # that this exporter is the older one: it knows LSTM's free length
        torch.onnx.export(
            _Probabilities(copy.deepcopy(network).cpu().eval()),
            (example,),
            stream,  # type: ignore[arg-type]  # the older exporter writes to streams, its types do not say so
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_axes={"images": free, "probabilities": last},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(stream.getvalue())
    model.ir_version = IR_VERSION
    model.producer_name = "sightloop"
    return model


class _Probabilities(nn.Module):
    """Of both networks probabilities, not their logarithms."""

    def __init__(self, network: Detector | Recogniser) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        answers: Tensor = self.network(images)
        return answers if isinstance(self.network, Detector) else answers.exp()


def _compare(network: Detector | Recogniser, folder: Path, said: Mapping[str, Any]) -> None:
    """Another size than the example's, so that a size written into the graph is found."""
    height, width = network.input.height or 5 * 32, 11 * 32
    rows = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    opened = open_network(folder, said, threads=1)
    images = torch.from_numpy(opened.input.normalised(rows))
    # On the CPU, where the file runs, too: GPUs round products to ten bits.
    with torch.inference_mode():
        expected = copy.deepcopy(network).cpu().eval()(images).numpy()
    if isinstance(network, Recogniser):
        expected = np.exp(expected)
    if not np.allclose(opened.run(rows), expected, atol=_TOLERANCE):
        raise PluginError("export_differs", "the exported model does not answer as the trained one does")
