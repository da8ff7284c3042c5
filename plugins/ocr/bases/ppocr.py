"""PP-OCRv6 small, whose ONNX files come with the package `rapidocr`, as trainable modules.

The files are inference graphs: normalisation is folded into the convolutions already, so a training step
normalises nothing, and the threshold branch of DBNet is not there: the detector is trained on its probability
map alone.
"""

from __future__ import annotations

import onnx
from torch import Tensor, nn

from plugins.ocr.bases.conversion import to_module, write_back
from plugins.ocr.bases.network import Detector, Input, Recogniser
from plugins.ocr.bases.onnx_graph import plain, with_sums

_HALF = (0.5, 0.5, 0.5)
_LAST_WEIGHT = "linear_8.w_0"
_LAST_BIAS = "linear_8.b_0"


class PPOCRDetector(Detector):
    """The detector of PP-OCRv6 small."""

    input = Input("bgr", _HALF, _HALF, 32)

    def __init__(self, published: bytes) -> None:
        super().__init__()
        self._graph = plain(onnx.load_from_string(published))
        self.body, self._sources = to_module(self._graph)

    def logits(self, images: Tensor) -> Tensor:
        """See `Detector.logits`."""
        answer: Tensor = self.body(images)
        return answer

    def graph(self) -> onnx.ModelProto:
        """The published graph with the present weights: `images` -> `probabilities`."""
        return write_back(self._graph, self.body, self._sources)


class PPOCRRecogniser(Recogniser):
    """The recogniser of PP-OCRv6 small: `body` and the last layer."""

    input = Input("bgr", _HALF, _HALF, 8, 48)
    stride = 8

    def __init__(self, published: bytes) -> None:
        super().__init__()
        model = onnx.load_from_string(published)
        (listed,) = (entry.value for entry in model.metadata_props if entry.key == "character")
        self.characters = (*listed.split("\n"), " ")
        self._graph = plain(model)
        self.body, self._sources = to_module(self._graph)
        names = {source: name for name, source in self._sources.items()}
        self._weight, self._bias = names[_LAST_WEIGHT], names[_LAST_BIAS]

    def logits(self, lines: Tensor) -> Tensor:
        """See `Recogniser.logits`."""
        answer: Tensor = self.body(lines)
        return answer

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """See `Recogniser.last_layer`."""
        return self.body.get_parameter(self._weight).detach().T, self.body.get_parameter(self._bias).detach()

    def replace_last_layer(self, weight: Tensor, bias: Tensor) -> None:
        """See `Recogniser.replace_last_layer`."""
        for name, value in ((self._weight, weight.T), (self._bias, bias)):
            owner, _, attribute = name.rpartition(".")
            setattr(self.body.get_submodule(owner), attribute, nn.Parameter(value.clone().contiguous()))

    def graph(self) -> onnx.ModelProto:
        """The published graph with the present weights: `images` -> `probabilities`."""
        model = write_back(self._graph, self.body, self._sources)
        return model if self.rows_of is None else with_sums(model, self.rows_of.tolist())
