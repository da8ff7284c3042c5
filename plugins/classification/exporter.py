"""A trained network as ONNX: bytes in, probabilities out.

The graph is written node by node from the network's modules, which are few: normalisation of the bytes,
convolutions, additions, one average, one matrix, softmax. With the check that it answers as the network does,
that takes 0.3 s of CPU time; `torch.onnx.export` took 14 s, which a user who stops a training would have to
wait for. The same weights give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from plugins.classification import preprocess
from plugins.classification.bases import Block, Conv, EfficientNetLite
from plugins.classification.predictor import open_predictor
from plugins.contract import PluginError
from plugins.fitting import whole_file

_OPSET, _IR_VERSION = 17, 8  # old enough for every ONNX Runtime since 1.12
_TOLERANCE = 1e-3


def export(network: EfficientNetLite, labels: tuple[str, ...], size: int, folder: Path) -> Mapping[str, Any]:
    """Write `model.onnx` and `weights.safetensors` into the folder; the `Draft.model` that opens them.

    Raises `PluginError`: `disk_full`, or `export_differs` when the file answers otherwise than the network.
    """
    network = network.eval().cpu()
    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "file": "model.onnx",
        "labels": list(labels),
        "image_size": size,
        "preprocessing": {"resize": "square, bicubic", "mean": preprocess.MEAN, "scale": preprocess.SCALE},
    }
    with whole_file(folder / "model.onnx") as stream:
        stream.write(_Graph(size).build(network).SerializeToString())
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    with whole_file(folder / "weights.safetensors") as stream:
        stream.write(safetensors.torch.save(weights))
    _compare(network, size, folder, model)
    return model


def to_input(rows: preprocess.Pixels, device: str) -> torch.Tensor:
    """(images, size, size, 3) bytes -> the input (images, 3, size, size), channels last in memory."""
    tensor = torch.from_numpy(np.array(rows)).to(device).permute(0, 3, 1, 2)
    return (tensor.float() - preprocess.MEAN) / preprocess.SCALE


def _compare(network: EfficientNetLite, size: int, folder: Path, model: Mapping[str, Any]) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    with torch.inference_mode():
        expected = torch.softmax(network(to_input(rows, "cpu")), 1).numpy()
    given = open_predictor(folder, model, threads=1).probabilities(rows)
    if not np.allclose(given, expected, atol=_TOLERANCE):
        raise PluginError("export_differs", "the exported model does not answer as the trained one does")


class _Graph:
    """A graph under construction; each method adds nodes and returns the name of a tensor."""

    def __init__(self, size: int) -> None:
        self.size, self.side = size, size
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []

    def build(self, network: EfficientNetLite) -> onnx.ModelProto:
        """`images` (batch, size, size, 3) uint8 -> `probabilities` (batch, classes) float32."""
        with torch.inference_mode():
            name = self._normalised("images")
            name = self._conv(network.stem, name)
            for block in network.blocks.children():
                name = self._block(block, name)
            name = self._conv(network.top, name)
            name = self._add("Flatten", self._add("GlobalAveragePool", name))
            weight, bias = (
                self._constant(value.detach()) for value in (network.head.weight, network.head.bias)
            )
            name = self._add("Gemm", name, weight, bias, transB=1)
        self.nodes.append(helper.make_node("Softmax", [name], ["probabilities"], axis=1))
        shape: list[str | int] = ["batch", self.size, self.size, 3]
        classes = network.head.out_features
        graph = helper.make_graph(
            self.nodes,
            "classification",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])],
            self.constants,
        )
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(
            graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="sightloop"
        )

    def _block(self, block: torch.nn.Module, start: str) -> str:
        assert isinstance(block, Block)
        name = start
        for conv in block.convs.children():
            assert isinstance(conv, Conv)
            name = self._conv(conv, name)
        return self._add("Add", start, name) if block.residual else name

    def _normalised(self, name: str) -> str:
        name = self._add("Transpose", self._add("Cast", name, to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        name = self._add("Sub", name, self._constant(torch.tensor(preprocess.MEAN)))
        return self._add("Div", name, self._constant(torch.tensor(preprocess.SCALE)))

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

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name
