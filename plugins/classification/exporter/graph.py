"""A network as an ONNX graph, written node by node.

The modules are few: normalisation of the bytes, convolutions, additions, one average, one matrix, softmax.
With the check that it answers as the network does, that takes 0.3 s of CPU time; `torch.onnx.export` took
14 s, which a user who stops a training would have to wait for. The same weights give the same bytes.
"""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from plugins.classification.bases import Network
from plugins.classification.bases.lite import MEAN, SCALE, Block, Conv, EfficientNetLite

_OPSET, _IR_VERSION = 17, 8  # old enough for every ONNX Runtime since 1.12


def of(network: Network, size: int) -> onnx.ModelProto:
    """`images` (batch, size, size, 3) uint8 -> `probabilities` (batch, classes), `features` (batch, channels)
    and `maps` (batch, channels, side, side): softmax(features @ W.T + b); features are the mean of the maps.
    """
    return Graph(size).build(network)


class Graph:
    """A graph under construction; each method adds nodes and returns the name of a tensor."""

    def __init__(self, size: int) -> None:
        self.size, self.side = size, size
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def build(self, network: Network) -> onnx.ModelProto:
        """See `of`."""
        with torch.inference_mode():
            name = self._maps(network, self._normalised("images"))
            name = self._add("Flatten", self._add("GlobalAveragePool", name), output="features")
            weight, bias = (
                self._constant(value.detach()) for value in (network.head.weight, network.head.bias)
            )
            name = self._add("Gemm", name, weight, bias, transB=1)
        self.nodes.append(helper.make_node("Softmax", [name], ["probabilities"], axis=1))
        shape: list[str | int] = ["batch", self.size, self.size, 3]
        classes, width = network.head.out_features, network.head.in_features
        graph = helper.make_graph(
            self.nodes,
            "classification",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
            [
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]),
                helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width]),
                helper.make_tensor_value_info(
                    "maps", TensorProto.FLOAT, ["batch", width, self.side, self.side]
                ),
            ],
            self.constants,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(
            graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="sightloop"
        )

    def _maps(self, network: Network, name: str) -> str:
        """Of the image, or the mean of those of the image and of its mirror image, mirrored back."""
        if not network.both_ways:
            return self._trunk(network, name, "maps")
        two = self._add("Concat", name, self._mirrored(name), axis=0)
        both = self._trunk(network, two)
        halves = self._add("Shape", name, end=1)
        first, second = f"{both}_seen", f"{both}_mirrored"
        sizes = self._add("Concat", halves, halves, axis=0)
        self.nodes.append(helper.make_node("Split", [both, sizes], [first, second], axis=0))
        total = self._add("Add", first, self._mirrored(second))
        return self._add("Mul", total, self._constant(torch.tensor(0.5)), output="maps")

    def _mirrored(self, name: str) -> str:
        """Left and right exchanged."""
        ends = (torch.tensor([value]) for value in (-1, -(2**63) + 1, 3, -1))  # start, end, axis, step
        return self._add("Slice", name, *(self._constant(end) for end in ends))

    def _trunk(self, network: Network, name: str, output: str = "") -> str:
        """The maps of normalised images; what another architecture than EfficientNet-Lite has to replace."""
        assert isinstance(network, EfficientNetLite)
        name, lower = self._conv(network.stem, name), []
        for number, block in enumerate(network.blocks.children(), 1):
            name = self._block(block, name)
            if number in network.ends():
                lower.append(name)
        return self._add("Concat", *lower, self._conv(network.top, name), axis=1, output=output)

    def _block(self, block: torch.nn.Module, start: str) -> str:
        assert isinstance(block, Block)
        name = start
        for conv in block.convs.children():
            assert isinstance(conv, Conv)
            name = self._conv(conv, name)
        return self._add("Add", start, name) if block.residual else name

    def _normalised(self, name: str) -> str:
        name = self._add("Transpose", self._add("Cast", name, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        name = self._add("Sub", name, self._constant(torch.tensor(MEAN)))
        return self._add("Div", name, self._constant(torch.tensor(SCALE)))

    def _conv(self, conv: Conv, name: str) -> str:
        weight, bias = (self._constant(value) for value in conv.folded())
        left, right, top, bottom = conv.padding(self.side, self.side)
        self.side = -(-self.side // conv.stride)
        kernel = conv.weight.shape[-1]
        name = self._add(
            "Conv",
            name,
            weight,
            bias,
            kernel_shape=[kernel, kernel],
            strides=[conv.stride, conv.stride],
            pads=[top, left, bottom, right],
            group=conv.groups,
        )
        if not conv.active:
            return name
        low, high = self._constant(torch.tensor(0.0)), self._constant(torch.tensor(6.0))
        return self._add("Clip", name, low, high)

    def _constant(self, value: torch.Tensor) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(value.contiguous().numpy(), name))
        return name

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name
