"""EfficientNet-Lite in torch.

Architecture: Tan and Le, EfficientNet (arXiv:1905.11946), in the Lite variants: no squeeze-and-excitation,
ReLU6 instead of swish, stem and last convolution not scaled.

Batch normalisation keeps its statistics here and is folded into the convolution at every forward pass. That
is the same function and the same parameters, but nothing is normalised pixel by pixel: on two CPU cores a
training step takes 2.5 times less (24 against 10 images a second at 224 pixels).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from plugins.classification.bases.network import Network

# Repeats, kernel, stride of the first, expansion and output channels of a stage (EfficientNet-B0, table 1).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM = 32
_EPSILON = 1e-3
TOP = 1280
MEAN, SCALE = 127.0, 128.0  # the weights were trained on (byte - MEAN) / SCALE


class Conv(nn.Module):
    """A convolution with its batch normalisation folded in, and ReLU6 where `active`.

    Padded as TensorFlow's SAME, which the weights were trained with: where the padding is odd, the surplus is
    at the bottom and the right.
    """

    mean: Tensor
    variance: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, active: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.groups, self.active = stride, groups, active
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        self.scale, self.shift = nn.Parameter(torch.empty(outputs)), nn.Parameter(torch.empty(outputs))
        self.register_buffer("mean", torch.empty(outputs))
        self.register_buffer("variance", torch.empty(outputs))

    def folded(self) -> tuple[Tensor, Tensor]:
        """The weight and the bias of the one convolution that this is."""
        factor = self.scale * torch.rsqrt(self.variance + _EPSILON)
        return self.weight * factor[:, None, None, None], self.shift - self.mean * factor

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in, height, width) -> (batch, out, ceil(height / stride), ceil(width / stride))."""
        weight, bias = self.folded()
        left, right, top, bottom = self.padding(x.shape[-2], x.shape[-1])
        if (left, top) != (right, bottom):
            x = functional.pad(x, (left, right, top, bottom))
            left = top = 0
        y = functional.conv2d(x, weight, bias, self.stride, (top, left), 1, self.groups)
        return functional.relu6(y) if self.active else y

    def padding(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Left, right, top and bottom pixels added to an input of that size."""
        kernel = self.weight.shape[-1]

        def of(length: int) -> tuple[int, int]:
            total = max((math.ceil(length / self.stride) - 1) * self.stride + kernel - length, 0)
            return total // 2, total - total // 2

        return (*of(width), *of(height))


class Block(nn.Module):
    """An inverted residual: expand (1x1), depthwise, project (1x1), plus its input where the shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.convs = nn.Sequential(
            *([] if expansion == 1 else [Conv(inputs, hidden, 1)]),
            Conv(hidden, hidden, kernel, stride, groups=hidden),
            Conv(hidden, outputs, 1, active=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, height / stride, width / stride)."""
        y: Tensor = self.convs(x)
        return x + y if self.residual else y


class EfficientNetLite(Network):
    """An EfficientNet-Lite whose channels are scaled by `width` and whose repeats by `depth`."""

    def __init__(self, width: float, depth: float, classes: int) -> None:
        super().__init__()
        self.stem = Conv(3, _STEM, 3, 2)
        self.blocks = nn.Sequential(*_blocks(width, depth))
        self.top = Conv(_scaled(_STAGES[-1][-1], width), TOP, 1)
        ends = [_scaled(stage[-1], width) for stage in _STAGES[-2:]]
        self.lower = sum(ends)
        self.head = nn.Linear(self.lower + TOP, classes)

    def maps(self, x: Tensor) -> Tensor:
        """See `Network.maps`: the ends of the last two stages (192 and 320 channels at width 1), which keep
        more of shapes and textures than the 1280 of the last convolution; a side is 1/32 of the input's.
        """
        y = self.stem((x - MEAN) / SCALE)
        lower = []
        for number, block in enumerate(self.blocks, 1):
            y = block(y)
            if number in self.ends():
                lower.append(y)
        return torch.cat([*lower, self.top(y)], 1)

    def ends(self) -> tuple[int, int]:
        """How many blocks come before the end of the last stage but one, and of the last one."""
        return len(self.blocks) - _STAGES[-1][0], len(self.blocks)

    def layers(self) -> Sequence[nn.Module]:
        """Stem, blocks, last convolution."""
        return [self.stem, *self.blocks, self.top]


def _blocks(width: float, depth: float) -> Iterator[Block]:
    """The blocks of this width and depth; the first and the last stage always keep their repeats."""
    inputs, last = _STEM, len(_STAGES) - 1
    for index, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
        count = repeats if index in (0, last) else math.ceil(repeats * depth)
        outputs = _scaled(channels, width)
        for repeat in range(count):
            yield Block(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion)
            inputs = outputs


def _scaled(channels: int, width: float) -> int:
    """Channels times width, rounded to a multiple of 8 but by no more than a tenth downwards."""
    scaled = max(8, int(channels * width + 4) // 8 * 8)
    return scaled + 8 if scaled < 0.9 * channels * width else scaled


def from_published(
    width: float, depth: float, classes: int, published: Mapping[str, Tensor]
) -> EfficientNetLite:
    """The network with published weights (their names as in the file), and a last layer of zeros.

    Raises `KeyError` or `RuntimeError` for weights of another network.
    """
    model = EfficientNetLite(width, depth, classes)
    width_of_features = model.head.in_features
    weights = {"head.weight": torch.zeros(classes, width_of_features), "head.bias": torch.zeros(classes)}
    for name, (conv, norm) in _published_names(model).items():
        weights[f"{name}.weight"] = published[f"{conv}.weight"]
        for own, other in _NORM.items():
            weights[f"{name}.{own}"] = published[f"{norm}.{other}"]
    model.load_state_dict(weights)
    return model


_NORM = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}


def _published_names(model: EfficientNetLite) -> dict[str, tuple[str, str]]:
    """Our name of each convolution -> the published names of the convolution and its normalisation."""
    names = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for number, block in enumerate(model.blocks.children()):
        assert isinstance(block, Block)
        parts = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for index, (conv, norm) in enumerate(parts[-len(block.convs) :]):
            names[f"blocks.{number}.convs.{index}"] = (
                f"_blocks.{number}.{conv}",
                f"_blocks.{number}.{norm}",
            )
    return names
