"""torchvision's networks as ONNX graphs, module by module.

Written out for the same reasons as EfficientNet-Lite's (see `graph.py`). A module that stands in none of the
rules below is refused: nothing is left out in silence, and every export is compared with the network.
"""

from __future__ import annotations

import math
from functools import singledispatchmethod
from typing import Any

import onnx
import torch
from onnx import TensorProto
from torch import Tensor, nn
from torchvision.models import convnext, efficientnet, resnet, swin_transformer
from torchvision.ops import Permute, SqueezeExcitation, StochasticDepth

from plugins.classification.bases import Network
from plugins.classification.bases.vision import CENTER, DEVIATION, FoldedConv, VisionNetwork
from plugins.classification.exporter.graph import Graph
from plugins.contract import PluginError

_FAR = -100.0  # added to the score of two places that are no neighbours, as torchvision does
_FIRST, _LAST = 0, 2**31 - 1  # of an axis


def of(network: VisionNetwork, size: int) -> onnx.ModelProto:
    """See `graph.of`; the maps and their meaning are the same."""
    return VisionGraph(size).build(network)


class VisionGraph(Graph):
    """A graph of one of torchvision's networks; `side` is that of the tensor written last."""

    def _normalised(self, name: str) -> str:
        """Bytes (batch, side, side, 3) -> (batch, 3, side, side) as the network normalises them."""
        name = self._add("Transpose", self._add("Cast", name, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        name = self._add("Sub", name, self._constant(CENTER))
        return self._add("Div", name, self._constant(DEVIATION))

    def _trunk(self, network: Network, name: str, output: str = "") -> str:
        """See `VisionNetwork.maps`."""
        assert isinstance(network, VisionNetwork)
        norm = network.norm
        for block in network.blocks:
            name = self.module(block, name)
        if norm is None:
            return self._add("Identity", name, output=output)
        if network.swin:
            return self._add("Transpose", self.module(norm, name), perm=[0, 3, 1, 2], output=output)
        average = self._add("GlobalAveragePool", name)
        mean = self._add("ReduceMean", average, axes=[1], keepdims=1)
        apart = self._add("Sub", average, mean)
        variance = self._add("ReduceMean", self._add("Mul", apart, apart), axes=[1], keepdims=1)
        deviation = self._add("Sqrt", self._add("Add", variance, self._constant(torch.tensor(norm.eps))))
        name = self._add("Div", self._add("Sub", name, mean), deviation)
        name = self._add("Mul", name, self._constant(norm.weight[:, None, None]))
        return self._add("Add", name, self._constant(norm.bias[:, None, None]), output=output)

    @singledispatchmethod
    def module(self, module: nn.Module, name: str) -> str:
        """Add what the module does to the tensor of that name. Raises `PluginError` (`export_unknown`)."""
        kind = type(module).__name__
        raise PluginError("export_unknown", f"no rule to export {kind}; use another base")

    @module.register(nn.Identity)
    @module.register(nn.Dropout)
    @module.register(StochasticDepth)
    def _nothing(self, _: nn.Module, name: str) -> str:
        return name

    @module.register
    def _sequence(self, modules: nn.Sequential, name: str) -> str:
        for module in modules:
            name = self.module(module, name)
        return name

    @module.register
    def _folded(self, conv: FoldedConv, name: str) -> str:
        weight, bias = conv.folded()
        return self._convolution(name, weight, bias, conv.stride, conv.padding, conv.groups)

    @module.register
    def _plain(self, conv: nn.Conv2d, name: str) -> str:
        assert conv.bias is not None and isinstance(conv.padding, tuple)
        return self._convolution(name, conv.weight, conv.bias, conv.stride, conv.padding, conv.groups)

    def _convolution(
        self,
        name: str,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        groups: int,
    ) -> str:
        kernel = list(weight.shape[2:])
        self.side = (self.side + 2 * padding[0] - kernel[0]) // stride[0] + 1
        return self._add(
            "Conv",
            name,
            self._constant(weight),
            self._constant(bias),
            kernel_shape=kernel,
            strides=list(stride),
            pads=[*padding, *padding],
            group=groups,
        )

    @module.register
    def _pooling(self, pool: nn.MaxPool2d, name: str) -> str:
        kernel, stride, padding = pool.kernel_size, pool.stride, pool.padding
        assert isinstance(kernel, int) and isinstance(stride, int) and isinstance(padding, int)
        self.side = (self.side + 2 * padding - kernel) // stride + 1
        return self._add("MaxPool", name, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)

    @module.register
    def _relu(self, _: nn.ReLU, name: str) -> str:
        return self._add("Relu", name)

    @module.register
    def _sigmoid(self, _: nn.Sigmoid, name: str) -> str:
        return self._add("Sigmoid", name)

    @module.register
    def _silu(self, _: nn.SiLU, name: str) -> str:
        return self._add("Mul", name, self._add("Sigmoid", name))

    @module.register
    def _gelu(self, _: nn.GELU, name: str) -> str:
        """x (1 + erf(x / sqrt(2))) / 2, in the order in which ONNX Runtime knows it."""
        half = self._add("Div", name, self._constant(torch.tensor(math.sqrt(2))))
        factor = self._add("Add", self._add("Erf", half), self._constant(torch.tensor(1.0)))
        return self._add("Mul", self._add("Mul", name, factor), self._constant(torch.tensor(0.5)))

    @module.register
    def _linear(self, linear: nn.Linear, name: str) -> str:
        name = self._add("MatMul", name, self._constant(linear.weight.T))
        return name if linear.bias is None else self._add("Add", name, self._constant(linear.bias))

    @module.register
    def _permutation(self, permute: Permute, name: str) -> str:
        return self._add("Transpose", name, perm=list(permute.dims))

    @module.register
    def _norm(self, norm: nn.LayerNorm, name: str) -> str:
        weight, bias = self._constant(norm.weight), self._constant(norm.bias)
        return self._add("LayerNormalization", name, weight, bias, axis=-1, epsilon=norm.eps)

    @module.register
    def _norm_of_channels(self, norm: convnext.LayerNorm2d, name: str) -> str:
        name = self._norm(norm, self._add("Transpose", name, perm=[0, 2, 3, 1]))
        return self._add("Transpose", name, perm=[0, 3, 1, 2])

    @module.register
    def _convnext_block(self, block: convnext.CNBlock, start: str) -> str:
        name = self._add("Mul", self.module(block.block, start), self._constant(block.layer_scale))
        return self._add("Add", name, start)

    @module.register(efficientnet.MBConv)
    @module.register(efficientnet.FusedMBConv)
    def _efficientnet_block(self, block: Any, start: str) -> str:
        name: str = self.module(block.block, start)
        return self._add("Add", name, start) if block.use_res_connect else name

    @module.register
    def _squeeze(self, block: SqueezeExcitation, start: str) -> str:
        side, name = self.side, self._add("GlobalAveragePool", start)
        for part in (block.fc1, block.activation, block.fc2, block.scale_activation):
            name = self.module(part, name)
        self.side = side
        return self._add("Mul", name, start)

    @module.register
    def _bottleneck(self, block: resnet.Bottleneck, start: str) -> str:
        side, other = self.side, start
        if block.downsample is not None:
            other = self.module(block.downsample, start)
        self.side, name = side, start
        for part in (block.conv1, block.relu, block.conv2, block.relu, block.conv3):
            name = self.module(part, name)
        return self._add("Relu", self._add("Add", name, other))

    @module.register
    def _swin_block(self, block: swin_transformer.SwinTransformerBlock, start: str) -> str:
        name = self._add("Add", start, self.module(block.attn, self.module(block.norm1, start)))
        return self._add("Add", name, self.module(block.mlp, self.module(block.norm2, name)))

    @module.register
    def _merging(self, merging: swin_transformer.PatchMerging, name: str) -> str:
        """Four neighbours become one: (batch, side, side, channels) -> (batch, side / 2, side / 2, 2 x)."""
        name = self._padded(name, self.side % 2)
        parts = [
            self._slice(self._slice(name, 1, down, _LAST, 2), 2, right, _LAST, 2)
            for right in (0, 1)
            for down in (0, 1)
        ]
        self.side = (self.side + 1) // 2
        return self.module(merging.reduction, self._norm(merging.norm, self._add("Concat", *parts, axis=-1)))

    @module.register
    def _attention(self, layer: swin_transformer.ShiftedWindowAttention, name: str) -> str:
        """Attention within windows, which are shifted in every other layer (arXiv:2103.14030)."""
        side, window, heads = self.side, layer.window_size[0], layer.num_heads
        across = -(-side // window)
        shift = layer.shift_size[0] if across > 1 else 0
        places, channels = window * window, layer.proj.in_features
        name = self._rolled(self._padded(name, across * window - side), shift)
        name = self._reshaped(name, -1, across, window, across, window, channels)
        name = self._reshaped(self._add("Transpose", name, perm=[0, 1, 3, 2, 4, 5]), -1, places, channels)
        name = self._reshaped(self.module(layer.qkv, name), -1, places, 3, heads, channels // heads)
        parts = [
            self._add("Gather", name, self._constant(torch.tensor(number)), axis=2) for number in range(3)
        ]
        query, value = (self._add("Transpose", parts[part], perm=[0, 2, 1, 3]) for part in (0, 2))
        key = self._add("Transpose", parts[1], perm=[0, 2, 3, 1])
        query = self._add("Mul", query, self._constant(torch.tensor((channels // heads) ** -0.5)))
        scores = self._add("MatMul", query, key)
        scores = self._add("Add", scores, self._constant(layer.get_relative_position_bias()))
        if shift:
            scores = self._reshaped(scores, -1, across * across, heads, places, places)
            scores = self._add("Add", scores, self._constant(_strangers(across, window, shift)))
            scores = self._reshaped(scores, -1, heads, places, places)
        name = self._add("MatMul", self._add("Softmax", scores, axis=-1), value)
        name = self._reshaped(self._add("Transpose", name, perm=[0, 2, 1, 3]), -1, places, channels)
        name = self._reshaped(self.module(layer.proj, name), -1, across, across, window, window, channels)
        name = self._add("Transpose", name, perm=[0, 1, 3, 2, 4, 5])
        name = self._rolled(self._reshaped(name, -1, across * window, across * window, channels), -shift)
        if across * window == side:
            return name
        return self._slice(self._slice(name, 1, _FIRST, side), 2, _FIRST, side)

    def _reshaped(self, name: str, *shape: int) -> str:
        return self._add("Reshape", name, self._constant(torch.tensor(shape)))

    def _slice(self, name: str, axis: int, start: int, end: int, step: int = 1) -> str:
        ends = (self._constant(torch.tensor([value])) for value in (start, end, axis, step))
        return self._add("Slice", name, *ends)

    def _padded(self, name: str, count: int) -> str:
        """Zeros added at the bottom and the right of (batch, side, side, channels)."""
        if not count:
            return name
        return self._add("Pad", name, self._constant(torch.tensor([0, 0, 0, 0, 0, count, count, 0])))

    def _rolled(self, name: str, shift: int) -> str:
        """What lies at the upper left comes to the lower right, or the other way round."""
        if not shift:
            return name
        for axis in (1, 2):
            ends = [self._slice(name, axis, shift, _LAST), self._slice(name, axis, _FIRST, shift)]
            name = self._add("Concat", *ends, axis=axis)
        return name


def _strangers(across: int, window: int, shift: int) -> Tensor:
    """What keeps places apart that only a shift brought into one window: (windows, 1, places, places)."""
    line = torch.zeros(across * window)
    line[-window:-shift], line[-shift:] = 1, 2
    regions = (3 * line[:, None] + line).reshape(across, window, across, window)
    regions = regions.transpose(1, 2).reshape(across * across, window * window)
    return _FAR * (regions[:, None, :, None] != regions[:, None, None, :]).float()
