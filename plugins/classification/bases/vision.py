"""torchvision's networks, brought into the form that training and export work with.

Three things are changed, none of which changes an answer: batch normalisation is folded into the convolution
before it (as in `lite.py`: its statistics stay, so that small batches do no harm, and a step is quicker), the
parts stand in one row from the input on, and the normalisation between feature maps and last layer is applied
to the maps, so that the last layer is linear in their mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import swin_transformer
from torchvision.models.resnet import Bottleneck

from plugins.classification.bases.network import Network

# Mean and deviation of ImageNet's colours, for bytes: (3, 1, 1).
CENTER = 255 * torch.tensor((0.485, 0.456, 0.406))[:, None, None]
DEVIATION = 255 * torch.tensor((0.229, 0.224, 0.225))[:, None, None]

_DROP_PATHS = 0.1  # share of residual branches left out in training, of the deepest block


class FoldedConv(nn.Module):
    """A convolution without bias and the batch normalisation after it, whose statistics stay as they are."""

    mean: Tensor
    variance: Tensor

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert conv.bias is None and norm.running_mean is not None and norm.running_var is not None
        assert isinstance(conv.padding, tuple)
        self.stride, self.groups, self.epsilon = conv.stride, conv.groups, norm.eps
        self.padding: tuple[int, ...] = conv.padding
        self.weight, self.scale, self.shift = conv.weight, norm.weight, norm.bias
        self.register_buffer("mean", norm.running_mean)
        self.register_buffer("variance", norm.running_var)

    def folded(self) -> tuple[Tensor, Tensor]:
        """The weight and the bias of the one convolution that this is."""
        factor = self.scale * torch.rsqrt(self.variance + self.epsilon)
        return self.weight * factor[:, None, None, None], self.shift - self.mean * factor

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, height / stride, width / stride)."""
        weight, bias = self.folded()
        return functional.conv2d(x, weight, bias, self.stride, self.padding, 1, self.groups)


class VisionNetwork(Network):
    """A network of torchvision without its classifier: `blocks` one after the other, then `norm` if it has
    one, which is applied to channels. The blocks of `swin` answer (batch, height, width, channels).
    """

    norm: nn.LayerNorm | None
    center: Tensor
    deviation: Tensor

    def __init__(
        self, blocks: Sequence[nn.Module], norm: nn.LayerNorm | None, width: int, classes: int, *, swin: bool
    ) -> None:
        super().__init__()
        self.blocks, self.norm, self.swin = nn.Sequential(*blocks), norm, swin
        self.head = nn.Linear(width, classes)
        self.register_buffer("center", CENTER, persistent=False)  # not saved: the same for all
        self.register_buffer("deviation", DEVIATION, persistent=False)

    def maps(self, x: Tensor) -> Tensor:
        """See `Network.maps`. A side is 1/32 of the input's.

        Swin normalises the channels of every place before they are averaged. ConvNeXt normalises the average;
        with the average's own mean and deviation the same is done to every place here, so that the average of
        the result is what ConvNeXt gives to its last layer.
        """
        maps: Tensor = self.blocks((x - self.center) / self.deviation)
        if self.norm is None:
            return maps
        if self.swin:
            normalised: Tensor = self.norm(maps)
            return normalised.permute(0, 3, 1, 2)
        average = maps.mean((2, 3), keepdim=True)
        variance, mean = torch.var_mean(average, 1, correction=0, keepdim=True)
        weight, bias = self.norm.weight[:, None, None], self.norm.bias[:, None, None]
        return (maps - mean) * torch.rsqrt(variance + self.norm.eps) * weight + bias

    def layers(self) -> Sequence[nn.Module]:
        """The stem, the blocks and what lies between them, the last normalisation."""
        return [*self.blocks, *([] if self.norm is None else [self.norm])]


def from_published(architecture: str, classes: int, published: Mapping[str, Tensor]) -> VisionNetwork:
    """The network with torchvision's weights (their names as in the file), and a last layer of zeros.

    Raises `RuntimeError` for weights of another network.
    """
    model = build(architecture)
    model.load_state_dict(published)
    return from_model(architecture, classes, model)


def build(architecture: str) -> nn.Module:
    """torchvision's own network with random weights, which ImageNet's would replace."""
    adjustable = architecture.startswith(("convnext", "efficientnet"))  # Swin-T has 0.2, ResNet none
    options: dict[str, Any] = {"stochastic_depth_prob": _DROP_PATHS} if adjustable else {}
    model: nn.Module = torchvision.models.get_model(architecture, weights=None, **options)
    return model


def from_model(architecture: str, classes: int, model: nn.Module) -> VisionNetwork:
    """The same for a network of torchvision, whose modules are taken over."""
    _fold(model)
    blocks, norm, width = _PARTS[architecture](model)
    network = VisionNetwork(blocks, norm, width, classes, swin=architecture.startswith("swin"))
    nn.init.zeros_(network.head.weight)
    nn.init.zeros_(network.head.bias)
    for module in network.modules():
        if isinstance(module, swin_transformer.ShiftedWindowAttention):  # whole numbers, the same for all
            index = module.relative_position_index
            del module.relative_position_index
            module.register_buffer("relative_position_index", index, persistent=False)
    return network


def _fold(model: nn.Module) -> None:
    """Replace every convolution with a batch normalisation right behind it, in all modules of the model."""
    for parent in model.modules():
        children = list(parent.named_children())
        for (name, conv), (following, norm) in pairwise(children):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, name, FoldedConv(conv, norm))
                setattr(parent, following, nn.Identity())


Parts = tuple[list[nn.Module], nn.LayerNorm | None, int]


def _rows(stages: nn.Module) -> Iterator[nn.Module]:
    """Stem, blocks and transitions in a row; a stage is a sequence of blocks alone."""
    for stage in stages.children():
        blocks = list(stage.children())
        kinds = {type(block) for block in blocks}
        if type(stage) is nn.Sequential and len(kinds) == 1 and kinds != {nn.Conv2d}:
            yield from blocks
        else:
            yield stage


def _convnext(model: Any) -> Parts:
    norm, _, last = model.classifier
    return list(_rows(model.features)), norm, last.in_features


def _efficientnet(model: Any) -> Parts:
    return list(_rows(model.features)), None, model.classifier[-1].in_features


def _swin(model: Any) -> Parts:
    return list(_rows(model.features)), model.norm, model.head.in_features


def _resnet(model: Any) -> Parts:
    stem = nn.Sequential(model.conv1, model.relu, model.maxpool)
    stages = [model.layer1, model.layer2, model.layer3, model.layer4]
    blocks = [block for stage in stages for block in stage]
    assert all(isinstance(block, Bottleneck) for block in blocks)
    return [stem, *blocks], None, model.fc.in_features


_PARTS: Mapping[str, Callable[[Any], Parts]] = {
    "convnext_tiny": _convnext,
    "convnext_small": _convnext,
    "efficientnet_v2_s": _efficientnet,
    "swin_t": _swin,
    "resnet50": _resnet,
}
