"""An ONNX graph in its plain form (see `onnx_graph`) as a trainable module, by `onnx2torch`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

import onnx
from onnx import numpy_helper
from torch import fx, nn
from torch.nn import functional

_ENDS = ("Sigmoid", "Softmax")  # between logits and probabilities


def to_module(model: onnx.ModelProto) -> tuple[fx.GraphModule, dict[str, str]]:
    """The graph up to its logits as a module, and for each of the module's parameters (by its name in the
    `state_dict`) the initializer that it is.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of onnx2torch's own imports
        from onnx2torch import convert  # noqa: PLC0415  imports half of torch's export machinery

        module = convert(onnx.shape_inference.infer_shapes(model))
    nodes = {node.name: node for node in module.graph.nodes}
    _weights_to_parameters(module)
    sources = _sources(model, module, nodes)
    _join_gelu(module, nodes)
    _end_at_logits(module, model.graph.node[-1])
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()
    return module.train(), sources


def write_back(model: onnx.ModelProto, module: nn.Module, sources: Mapping[str, str]) -> onnx.ModelProto:
    """A copy of the graph with the module's present weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in copy.graph.initializer}
    values = module.state_dict()
    for name, source in sources.items():
        value = values[name].detach().cpu().float().contiguous().numpy()
        tensors[source].CopyFrom(numpy_helper.from_array(value, source))
    return copy


def _weights_to_parameters(module: fx.GraphModule) -> None:
    """Matrices, biases and what is added for each channel arrive as buffers; scalars, shapes and the factors
    of `Resize` stay so.
    """
    holder = module.get_submodule("initializers")
    fixed = {
        str(node.target).rpartition(".")[2]
        for node in module.graph.nodes
        if node.op == "get_attr" and any(user.name.startswith("resize_") for user in node.users)
    }
    for name, value in list(holder.named_buffers(recurse=False)):
        # Copies: onnx2torch's tensors share the memory of the file that was read.
        del holder._buffers[name]
        if value.is_floating_point() and value.numel() > 1 and name not in fixed:
            holder.register_parameter(name, nn.Parameter(value.clone()))
        else:
            holder.register_buffer(name, value.clone(), persistent=False)
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):  # onnx2torch asks a shape that is not known
            part.normalized_shape = tuple(part.weight.shape)
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
        parameter.requires_grad_(True)


def _sources(model: onnx.ModelProto, module: nn.Module, nodes: Mapping[str, fx.Node]) -> dict[str, str]:
    """Which initializer each parameter is; a parameter that is none of them is an error."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    parameters = dict(module.named_parameters())
    sources: dict[str, str] = {}
    for node in model.graph.node:
        given = nodes[node.name]
        own = [name for name in parameters if name.startswith(f"{node.name}.")]
        weights = [name for name in node.input if name in initializers]
        if own:  # convolutions and normalisations: weight, then bias
            sources.update(zip(sorted(own, reverse=True), weights, strict=True))
            continue
        for argument, name in zip(given.args, node.input, strict=False):
            if isinstance(argument, fx.Node) and str(argument.target) in parameters:
                sources[str(argument.target)] = name
    assert sources.keys() == parameters.keys() and len(set(sources.values())) == len(sources)
    return sources


def _join_gelu(module: fx.GraphModule, nodes: Mapping[str, fx.Node]) -> None:
    """x * (1 + erf(x / sqrt(2))) / 2 in five nodes becomes torch's one, which remembers less for training."""
    for name in [name for name in nodes if re.fullmatch(r"erf_\d+", name)]:
        erf = nodes[name]
        divided = erf.args[0]
        assert isinstance(divided, fx.Node)
        last = erf
        for _ in range(3):  # add one, times x, times a half
            (last,) = last.users
        with module.graph.inserting_after(last):
            joined = module.graph.call_function(functional.gelu, (divided.args[0],))
        last.replace_all_uses_with(joined)


def _end_at_logits(module: fx.GraphModule, end: onnx.NodeProto) -> None:
    assert end.op_type in _ENDS
    (output,) = (node for node in module.graph.nodes if node.op == "output")
    last: Any = output.args[0]
    assert last.name == end.name
    output.args = (last.args[0],)
