"""docTR's networks (python-doctr, Apache-2.0) behind the same interface as the others."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from plugins.contract import PluginError
from plugins.ocr.bases.network import Detector, Input, Recogniser

# docTR's own normalisation, from the configurations of its models.
_PAGES = (0.798, 0.785, 0.772), (0.264, 0.2749, 0.287)
_WORDS = (0.694, 0.695, 0.693), (0.299, 0.296, 0.301)


class DoctrDetector(Detector):
    """A DBNet of docTR; trained on its probability map alone, as the other base."""

    input = Input("rgb", *_PAGES, 32)

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.features: nn.Module = model.feat_extractor
        self.pyramid: nn.Module = model.fpn
        self.head: nn.Module = model.prob_head

    def logits(self, images: Tensor) -> Tensor:
        """See `Detector.logits`."""
        maps = self.features(images)
        answer: Tensor = self.head(self.pyramid([maps[str(place)] for place in range(len(maps))]))
        return answer


class DoctrRecogniser(Recogniser):
    """A CRNN of docTR, with its blank moved to the front."""

    input = Input("rgb", *_WORDS, 4, 32)
    stride = 4

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.features: nn.Module = model.feat_extractor
        self.decoder: nn.Module = model.decoder
        self.head: nn.Linear = model.linear
        # docTR's vocabularies have no space: its line of text is a row of words.
        self.characters = (*model.vocab, " ")
        weight, bias = self.head.weight.detach(), self.head.bias.detach()
        order = [len(model.vocab), *range(len(model.vocab))]
        space = weight.new_zeros((1, weight.shape[1])), bias.min().reshape(1)
        self.replace_last_layer(torch.cat([weight[order], space[0]]), torch.cat([bias[order], space[1]]))

    def logits(self, lines: Tensor) -> Tensor:
        """See `Recogniser.logits`."""
        steps, _ = self.decoder(self.features(lines).flatten(1, 2).transpose(1, 2))
        answer: Tensor = self.head(steps)
        return answer

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """See `Recogniser.last_layer`."""
        return self.head.weight.detach(), self.head.bias.detach()

    def replace_last_layer(self, weight: Tensor, bias: Tensor) -> None:
        """See `Recogniser.replace_last_layer`."""
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        self.head.weight = nn.Parameter(weight.clone())
        self.head.bias = nn.Parameter(bias.clone())


def build(architecture: str) -> nn.Module:
    """docTR's own network with random weights; downloads nothing."""
    from doctr.models import detection, recognition  # noqa: PLC0415  slow to import, and only for these bases

    home = detection if hasattr(detection, architecture) else recognition
    torch.manual_seed(0)
    model: nn.Module = getattr(home, architecture)(pretrained=False, pretrained_backbone=False)
    return model


def load(architectures: Sequence[str], published: Sequence[bytes]) -> tuple[DoctrDetector, DoctrRecogniser]:
    """Detector and recogniser with these weights, or with random ones if there are none.

    Raises `PluginError` (`weights_changed`) for weights of another network.
    """
    models = [build(architecture) for architecture in architectures]
    for model, architecture, data in zip(models, architectures, published, strict=False):
        try:
            model.load_state_dict(torch.load(BytesIO(data), map_location="cpu", weights_only=True))
        except Exception as error:  # whatever a file of other content raises
            message = f"the file of {architecture} holds weights of another network; replace or delete it"
            raise PluginError("weights_changed", message) from error
    return DoctrDetector(models[0]), DoctrRecogniser(models[1])
