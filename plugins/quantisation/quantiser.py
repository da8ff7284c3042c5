"""An fp32 graph as int8: static quantisation by ONNX Runtime, in QDQ form, per channel, ranges from images.

Activations are uint8 with the range that was seen. Weights are symmetric int8, and two things are done to
them that ONNX Runtime's quantiser does not do itself (what each gains stands in benchmarks/int8.md):

* Pairs that cannot overflow. On x86 without VNNI the matrix kernels add two products of uint8 and int8 in 16
  bits (VPMADDUBSW), which saturates from 32,767 on. Weights of 8 bits then give wrong sums; the usual remedy,
  weights of 7 bits (`reduce_range`), costs half of their precision. Here the scale of a channel is the finest
  at which no two neighbouring weights of one sign add up to more than 128, as 128 x 255 < 32,768: nearly 8
  bits, and the same sums on every machine. Depthwise kernels multiply in 16 bits and add in 32: they take 8.
* Bias correction (Nagel et al., arXiv:1906.04721, section 4.2): rounding the weights shifts the mean of each
  output channel by the rounding errors times the mean of the inputs; the bias takes that shift back.

Bytes that the graph itself normalises by (x - whole number) / scale are used as they are: that is a quantised
tensor already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorData, TensorsData

from plugins.quantisation import Stopped
from plugins.sessions import open_session

Floats = npt.NDArray[np.float64]
Batch = npt.NDArray[Any]

_PAIR = 127.5  # real sums of two weights; rounding adds at most 1, and 128 x 255 is below 2^15
ACTIVATIONS = ("Clip", "Relu")  # ONNX Runtime lets the limits of the output's range do their work


@dataclass(frozen=True)
class Statistics:
    """What images do to the tensors of a graph: least and greatest value by tensor, and the mean of each
    channel (channels,) of what the convolutions get.
    """

    ranges: dict[str, tuple[float, float]]
    means: dict[str, Floats]


def convolutions(model: onnx.ModelProto) -> list[str]:
    """The names of the convolutions that can be quantised, from input to output."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and all(name in constants for name in node.input[1:])
    ]


def read(graph: bytes) -> onnx.ModelProto:
    """The graph with a name for every node and a type for every tensor."""
    model = onnx.load_model_from_string(graph)
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type.lower()}_{number}"
    return onnx.shape_inference.infer_shapes(model)


def observe(
    model: onnx.ModelProto, batches: Iterable[Batch], *, threads: int, stop: Callable[[], bool]
) -> Statistics:
    """Run what the graph gets as `images` through it, in batches of any size. Raises `Stopped`."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    graph = probe.graph
    known = [*graph.input, *graph.value_info, *graph.output]
    tensors = sorted({one.name for one in known if one.type.tensor_type.elem_type == TensorProto.FLOAT})
    inputs = sorted({node.input[0] for node in graph.node if node.op_type == "Conv"})
    del graph.output[:]
    wanted = [(operator, name) for operator in ("ReduceMin", "ReduceMax") for name in tensors]
    for operator, name in [*wanted, *(("GlobalAveragePool", name) for name in inputs)]:
        settings: dict[str, Any] = {} if operator == "GlobalAveragePool" else {"keepdims": 0}
        result = f"{name}/{operator}"
        graph.node.append(helper.make_node(operator, [name], [result], **settings))
        graph.output.append(helper.make_tensor_value_info(result, TensorProto.FLOAT, None))
    session = open_session(probe.SerializeToString(), threads=threads)
    low, high = np.full(len(tensors), np.inf), np.full(len(tensors), -np.inf)
    sums = [0.0] * len(inputs)
    count = 0
    for batch in batches:
        if stop():
            raise Stopped
        answers = session.run(None, {"images": np.ascontiguousarray(batch)})
        count += len(batch)
        low = np.minimum(low, answers[: len(tensors)])
        high = np.maximum(high, answers[len(tensors) : 2 * len(tensors)])
        means = answers[2 * len(tensors) :]
        sums = [total + mean.sum((0, 2, 3), np.float64) for total, mean in zip(sums, means, strict=True)]
    ranges = dict(zip(tensors, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return Statistics(
        ranges, {name: np.asarray(total) / max(count, 1) for name, total in zip(inputs, sums, strict=True)}
    )


def quantise(
    model: onnx.ModelProto, statistics: Statistics, *, without: Collection[str] = ()
) -> onnx.ModelProto:
    """The graph in int8, except for the convolutions `without`. The same arguments give the same bytes."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    chosen = [name for name in convolutions(model) if name not in without]
    overrides = _round_weights(rounded, chosen, statistics)
    first = _normalised_bytes(rounded)
    if first is not None:
        parameters = {
            "scale": np.array(1 / first.scale, np.float32),
            "zero_point": np.array(first.mean, np.uint8),
        }
        overrides[first.tensor] = [{"quant_type": QuantType.QUInt8, **parameters}]
    quantiser = QDQQuantizer(
        rounded,
        True,  # per channel
        False,  # reduce_range: see above
        QuantType.QInt8,
        QuantType.QUInt8,
        _ranges(statistics),
        [*chosen, *_between(rounded)],
        [],
        ["Conv", "Add", *ACTIVATIONS],
        {"TensorQuantOverrides": overrides},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    made: onnx.ModelProto = quantiser.model.model
    if first is not None:
        _use_bytes(made, first)
    _store_matrices(made)
    del made.graph.value_info[:]
    made.producer_name, made.producer_version = "sightloop", ""
    onnx.checker.check_model(made)
    return made


def grid(weight: Floats, *, depthwise: bool) -> Floats:
    """The scale of each channel (channels,) for weights (channels, inputs, height, width): see above.

    The order of the pairs is that of the kernels: row, column, input channel.
    """
    rows = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    scale: Floats = np.abs(rows).max(1) / 127
    if not depthwise:
        pairs = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2)
        for sign in (1, -1):
            scale = np.maximum(scale, np.maximum(sign * pairs, 0).sum(2).max(1) / _PAIR)
    exact: Floats = np.where(scale > 0, scale, 1.0).astype(np.float32).astype(np.float64)
    return exact


def _round_weights(
    model: onnx.ModelProto, chosen: Collection[str], statistics: Statistics
) -> dict[str, list[dict[str, Any]]]:
    """Put weights on their grids and correct the biases; the grids, as the quantiser wants them."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    overrides: dict[str, list[dict[str, Any]]] = {}
    for node in model.graph.node:
        if node.name not in chosen:
            continue
        weight = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
        groups = helper.get_node_attr_value(node, "group") if _has(node, "group") else 1
        scale = grid(weight, depthwise=weight.shape[1] == 1 and groups == len(weight))
        steps = np.clip(np.rint(weight / scale[:, None, None, None]), -127, 127)
        rounded = steps * scale[:, None, None, None]
        _set(constants[node.input[1]], rounded)
        zero = np.int8(0)
        overrides[node.input[1]] = [
            {"quant_type": QuantType.QInt8, "axis": 0, "scale": np.float32(one), "zero_point": zero}
            for one in scale
        ]
        if len(node.input) > 2:
            bias = numpy_helper.to_array(constants[node.input[2]])
            inputs = statistics.means[node.input[0]].reshape(groups, -1)  # (groups, inputs of one)
            errors = (rounded - weight).sum((2, 3)).reshape(groups, -1, weight.shape[1])
            _set(constants[node.input[2]], bias - np.einsum("goi,gi->go", errors, inputs).reshape(-1))
    return overrides


def _has(node: onnx.NodeProto, attribute: str) -> bool:
    return any(one.name == attribute for one in node.attribute)


def _set(tensor: onnx.TensorProto, values: Floats) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def _between(model: onnx.ModelProto) -> list[str]:
    """The nodes between convolutions that stay in int8: activations, and additions of two computed tensors
    that a convolution reads.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    read = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input}
    return [
        node.name
        for node in model.graph.node
        if node.op_type in ACTIVATIONS
        or (node.op_type == "Add" and node.output[0] in read and not constants & set(node.input))
    ]


def _ranges(statistics: Statistics) -> TensorsData:
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in statistics.ranges.items()
    }
    return TensorsData(CalibrationMethod.MinMax, data)


@dataclass(frozen=True)
class _Normalised:
    """The first convolutions read `tensor`, which is (images - mean) / scale with its channels moved by the
    node `transpose`, and perhaps mirrored images beside; `dropped` are the nodes of the arithmetic, the last
    of which writes `start`.
    """

    tensor: str
    mean: int
    scale: float
    start: str
    transpose: onnx.NodeProto
    dropped: tuple[str, ...]


def _normalised_bytes(model: onnx.ModelProto) -> _Normalised | None:
    """The start of the graph, where it is Cast, Transpose, Sub and Div of the bytes by plain numbers."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    chain, start = [], "images"
    for operator in ("Cast", "Transpose", "Sub", "Div"):
        users = _users(model, start)
        if len(users) != 1 or users[0].op_type != operator:
            return None
        chain.append(users[0])
        start = users[0].output[0]
    numbers = [
        numpy_helper.to_array(constants[node.input[1]]) for node in chain[2:] if node.input[1] in constants
    ]
    if len(numbers) != 2 or any(number.size != 1 for number in numbers):
        return None
    mean, scale = (float(number.item()) for number in numbers)
    tensor = _after_moving(model, start)
    if mean not in range(256) or scale <= 0 or not math.isfinite(scale) or tensor is None:
        return None
    dropped = tuple(node.name for node in chain)
    return _Normalised(tensor, int(mean), scale, start, chain[1], dropped)


def _after_moving(model: onnx.ModelProto, start: str) -> str | None:
    """The one tensor that convolutions read, where values from `start` on are only moved; None otherwise."""
    moved, read = [start], set()
    for tensor in moved:
        for node in _users(model, tensor):
            if node.op_type == "Conv":
                read.add(tensor)
            elif node.op_type in ("Slice", "Concat"):
                moved.extend(name for name in node.output if name not in moved)
            elif node.op_type != "Shape":
                return None
    return read.pop() if len(read) == 1 else None


def _users(model: onnx.ModelProto, tensor: str) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if tensor in node.input]


def _use_bytes(model: onnx.ModelProto, first: _Normalised) -> None:
    """Let the first convolution read the image's bytes: what is quantised from them is them again."""
    graph = model.graph
    users = _users(model, first.tensor)
    quantised = [node for node in users if node.op_type == "QuantizeLinear"]
    if len(quantised) != 1 or any(node.op_type == "Conv" for node in users):
        return  # the first convolution stays in fp32
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == quantised[0].output[0]:
                node.input[place] = first.tensor
    order = helper.get_node_attr_value(first.transpose, "perm")
    start = helper.make_node("Transpose", ["images"], [first.start], "bytes", perm=order)
    dropped = {*first.dropped, quantised[0].name}
    kept = [node for node in graph.node if node.name not in dropped]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend([start, *kept])
    _forget_unused(graph)


def _store_matrices(model: onnx.ModelProto) -> None:
    """Store the weights of the last layers in 8 bits; the layers themselves stay in fp32."""
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        weight = numpy_helper.to_array(constants[node.input[1]]) if _is_matrix(node, constants) else None
        if weight is not None:
            axis = 0 if _has(node, "transB") and helper.get_node_attr_value(node, "transB") else 1
            greatest = np.abs(weight).max(1 - axis)
            scale = (np.where(greatest > 0, greatest, 1.0) / 127).astype(np.float32)
            steps = np.rint(weight / np.expand_dims(scale, 1 - axis)).astype(np.int8)
            name = node.input[1]
            parts: dict[str, npt.NDArray[Any]] = {
                f"{name}/int8": steps,
                f"{name}/scale": scale,
                f"{name}/zero": np.zeros(len(scale), np.int8),
            }
            graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in parts.items())
            nodes.append(helper.make_node("DequantizeLinear", [*parts], [f"{name}/fp32"], name, axis=axis))
            node.input[1] = f"{name}/fp32"
        nodes.append(node)
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    _forget_unused(graph)


def _is_matrix(node: onnx.NodeProto, constants: Collection[str]) -> bool:
    return node.op_type == "Gemm" and node.input[1] in constants


def _forget_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
    del graph.initializer[:]
    graph.initializer.extend(kept)
