"""Which convolutions suffer most from int8."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from plugins.quantisation import Stopped, quantiser
from plugins.quantisation.quantiser import Batch, Statistics
from plugins.sessions import open_session


def order(
    model: onnx.ModelProto,
    statistics: Statistics,
    batches: Sequence[Batch],
    *,
    threads: int,
    stop: Callable[[], bool],
) -> list[str]:
    """The names of the convolutions, the most sensitive first. Raises `Stopped`.

    A convolution's noise is the mean square of int8 minus fp32 over the mean square of fp32 at its output
    (after its activation), on these inputs; what counts is by how much it is above the noise of its input.
    """
    quantised = quantiser.quantise(model, statistics)
    pairs = _ends(model)
    tensors = sorted({name for ends in pairs.values() for name in ends})
    sessions = [open_session(_showing(one, tensors), threads=threads) for one in (model, quantised)]
    signal, noise = np.zeros(len(tensors)), np.zeros(len(tensors))
    for batch in batches:
        if stop():
            raise Stopped
        answers = [session.run(None, {"images": np.ascontiguousarray(batch)}) for session in sessions]
        signal += [float(np.square(one, dtype=np.float64).mean()) for one in answers[0]]
        noise += [
            float(np.square(one - other, dtype=np.float64).mean())
            for one, other in zip(*answers, strict=True)
        ]
    share = dict(zip(tensors, noise / np.maximum(signal, 1e-12), strict=True))
    added = {name: share[end] - share[start] for name, (start, end) in pairs.items()}
    return sorted(added, key=lambda name: (-added[name], name))


def _ends(model: onnx.ModelProto) -> dict[str, tuple[str, str]]:
    """By convolution the tensors before it and after it, or after its activation."""
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    chosen = set(quantiser.convolutions(model))
    ends = {}
    for node in model.graph.node:
        if node.name in chosen:
            after = users.get(node.output[0], [])
            active = len(after) == 1 and after[0].op_type in quantiser.ACTIVATIONS
            ends[node.name] = (node.input[0], after[0].output[0] if active else node.output[0])
    return ends


def _showing(model: onnx.ModelProto, tensors: list[str]) -> bytes:
    """The graph with these tensors as its outputs; in a quantised graph what the next layer reads of them."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    made = {name for node in probe.graph.node for name in node.output}
    del probe.graph.output[:]
    for name in tensors:
        read = f"{name}_DequantizeLinear_Output"
        shown = read if read in made else name
        probe.graph.output.append(helper.make_tensor_value_info(shown, TensorProto.FLOAT, None))
    graph: bytes = probe.SerializeToString()
    return graph
