"""The backbone of our high-performance algorithm as everyone else would have it, and images to feed it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.classification.measuring import Probabilities, Task
from plugins import images
from plugins.classification import bases
from plugins.classification.bases import lite
from plugins.contract import Split

SIZE = 224
_LONGEST = 320  # pixels of the shorter side of what is kept of an image; larger ones are scaled down once
_CHUNK = 32
# The published weights see (byte - 127) / 128; as mean and deviation of values from 0 to 1:
MEAN, DEVIATION = [127 / 255] * 3, [128 / 255] * 3


class Unfolded(nn.Module):
    """One of our convolutions as a convolution and a batch normalisation, which normalises by the batch in
    training, with torch's usual momentum.
    """

    def __init__(self, conv: lite.Conv) -> None:
        super().__init__()
        outputs, inputs, kernel, _ = conv.weight.shape
        self.padding, self.active = conv.padding, conv.active
        self.conv = nn.Conv2d(
            inputs * conv.groups, outputs, kernel, conv.stride, groups=conv.groups, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)
        with torch.no_grad():
            self.conv.weight.copy_(conv.weight)
            self.norm.weight.copy_(conv.scale)
            self.norm.bias.copy_(conv.shift)
            self.norm.running_mean.copy_(conv.mean)  # type: ignore[union-attr]
            self.norm.running_var.copy_(conv.variance)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        """As `lite.Conv.forward`."""
        left, right, top, bottom = self.padding(x.shape[-2], x.shape[-1])
        y: Tensor = self.norm(self.conv(functional.pad(x, (left, right, top, bottom))))
        return functional.relu6(y) if self.active else y


def body() -> nn.Sequential:
    """Normalised images (batch, 3, 224, 224) -> feature maps (batch, 1280, 7, 7), with pretrained weights."""
    network = bases.load(bases.LITE0, 2)
    assert isinstance(network, lite.EfficientNetLite)
    for block in network.blocks:
        assert isinstance(block, lite.Block)
        block.convs = nn.Sequential(*map(_unfolded, block.convs))
    parts = [_unfolded(network.stem), *network.blocks, _unfolded(network.top)]
    return nn.Sequential(*parts).to(memory_format=torch.channels_last)


def _unfolded(conv: nn.Module) -> Unfolded:
    assert isinstance(conv, lite.Conv)
    return Unfolded(conv)


def classifier(classes: int) -> nn.Sequential:
    """Body, mean over the maps, a new linear layer."""
    return nn.Sequential(body(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(lite.TOP, classes))


def pictures(task: Task, split: Split) -> list[Image.Image]:
    """The images of a side, decoded once and kept in memory, which saves the others time too."""
    return [_picture(task.data[one.key]) for one in task.side(split)]


def _picture(data: bytes) -> Image.Image:
    image = images.decode(data, wanted_side=_LONGEST).image
    scale = _LONGEST / min(image.size)
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)


def predict(model: nn.Module, rows: Sequence[Tensor] | Tensor) -> Probabilities:
    """Class probabilities of prepared images (3, 224, 224), with the network as in use, not in training."""
    was_training = model.training
    model.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            x = some if isinstance(some, Tensor) else torch.stack(list(some))
            parts.append(model(x.contiguous(memory_format=torch.channels_last)).softmax(1).numpy())
    model.train(was_training)
    return np.concatenate(parts)
