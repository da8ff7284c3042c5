"""A published ONNX graph brought into the plain form that conversion and export work with.

The answers stay the same to rounding. What changes: constants become initializers, nodes that do nothing go,
`auto_pad` is written out, batch normalisation and additions behind a convolution go into it, layer
normalisation and the choice of one entry become one node each, and every node gets a name that a Python
module can have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import NodeProto, helper, numpy_helper, version_converter

OPSET, IR_VERSION = 17, 8  # as the classifier's export; every ONNX Runtime since 1.12 reads them

Floats = npt.NDArray[np.float32]


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with one input `images` and one output `probabilities`, in the form said above."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = _Graph(plain)
    graph.constants_to_initializers()
    graph.write_out_pads()
    graph.drop_identities()
    graph.fold_normalisation()
    graph.fold_additions()
    graph.name_ends()
    graph.tidy()
    converted = version_converter.convert_version(plain, OPSET)
    graph = _Graph(converted)
    graph.constants_to_initializers()
    graph.join_layer_normalisation()
    graph.slices_to_gathers()
    graph.tidy()
    converted.ir_version = IR_VERSION
    converted.producer_name = "sightloop"
    del converted.metadata_props[:]
    del converted.graph.value_info[:]
    return converted


def with_sums(model: onnx.ModelProto, rows_of: Sequence[Sequence[int]]) -> onnx.ModelProto:
    """The same model, whose probabilities (batch, steps, rows) become sums: class i is the sum of the rows
    `rows_of[i]`; a number that is no row adds nothing.
    """
    (end,) = (node for node in model.graph.node if "probabilities" in node.output)
    last = max(row for some in rows_of for row in some)  # beyond the rows, if any class is filled up with it
    sums = np.zeros((last + 1, len(rows_of)), np.float32)
    for place, some in enumerate(rows_of):
        sums[list(some), place] = 1
    end.output[0] = "rows"
    model.graph.initializer.append(numpy_helper.from_array(sums[:last], "sums"))
    model.graph.node.append(helper.make_node("MatMul", ["rows", "sums"], ["probabilities"], name="summed"))
    return model


def initializers(model: onnx.ModelProto) -> dict[str, Floats]:
    """The values of all initializers by name."""
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}


class _Graph:
    """The nodes of a graph and who makes and takes which tensor."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph

    def constants_to_initializers(self) -> None:
        """`Constant` nodes: a converter would not see that they are weights."""
        for node in [node for node in self.graph.node if node.op_type == "Constant"]:
            (value,) = node.attribute
            assert value.name == "value"
            self.graph.initializer.append(value.t)
            self.graph.initializer[-1].name = node.output[0]
            self.graph.node.remove(node)

    def write_out_pads(self) -> None:
        """`SAME_UPPER` at stride 1: the surplus is at the bottom and the right."""
        values = self._values()
        for node in self.graph.node:
            attributes = {attribute.name: attribute for attribute in node.attribute}
            if "auto_pad" not in attributes:
                continue
            assert attributes["auto_pad"].s == b"SAME_UPPER" and set(attributes["strides"].ints) == {1}
            kernel = (
                attributes["kernel_shape"].ints
                if "kernel_shape" in attributes
                else values[node.input[1]].shape[2:]
            )
            pads = [(side - 1) // 2 for side in kernel] + [side // 2 for side in kernel]
            kept = [one for name, one in attributes.items() if name not in ("auto_pad", "pads")]
            del node.attribute[:]
            node.attribute.extend([*kept, helper.make_attribute("pads", pads)])

    def drop_identities(self) -> None:
        """What they give is what they take."""
        for node in [node for node in self.graph.node if node.op_type == "Identity"]:
            self._drop(node, node.input[0])

    def fold_normalisation(self) -> None:
        """Batch normalisation behind a convolution without bias: y = (x - mean) * factor + shift."""
        for node in [node for node in self.graph.node if node.op_type == "BatchNormalization"]:
            conv = self._maker(node.input[0])
            assert conv is not None and conv.op_type == "Conv" and len(conv.input) == 2
            values = self._values()
            scale, shift, mean, variance = (values[name].astype(np.float64) for name in node.input[1:])
            epsilon = {one.name: one.f for one in node.attribute}["epsilon"]
            factor = scale / np.sqrt(variance + epsilon)
            weight = values[conv.input[1]] * factor[:, None, None, None]
            self._set(conv.input[1], weight)
            self._add_bias(conv, shift - mean * factor)
            self._drop(node, conv.output[0])

    def fold_additions(self) -> None:
        """A constant for each channel that is added to what a convolution answers: its bias."""
        values = self._values()
        for node in [node for node in self.graph.node if node.op_type == "Add"]:
            conv = self._maker(node.input[0])
            bias = values.get(node.input[1])
            if (
                conv is None
                or conv.op_type not in ("Conv", "ConvTranspose")
                or len(conv.input) != 2
                or bias is None
                or len(self._takers(conv.output[0])) != 1
            ):
                continue
            channels = values[conv.input[1]].shape[conv.op_type == "ConvTranspose"]
            if bias.shape != (1, channels, 1, 1):
                continue
            self._add_bias(conv, bias.reshape(-1))
            self._drop(node, conv.output[0])

    def join_layer_normalisation(self) -> None:
        """(x - mean) / sqrt(variance + epsilon) * weight + bias over the last axis, in seven nodes."""
        values = self._values()
        for root in [node for node in self.graph.node if node.op_type == "Sqrt"]:
            add = self._maker(root.input[0])
            assert add is not None
            power = self._maker(self._maker_of(add.input[0]).input[0])
            assert power is not None
            apart = self._maker_of(power.input[0])
            (divide,) = self._takers(root.output[0])
            (scale,) = self._takers(divide.output[0])
            (shift,) = self._takers(scale.output[0])
            assert [one.op_type for one in (apart, divide, scale, shift)] == ["Sub", "Div", "Mul", "Add"]
            joined = helper.make_node(
                "LayerNormalization",
                [apart.input[0], scale.input[1], shift.input[1]],
                [shift.output[0]],
                axis=-1,
                epsilon=float(values[add.input[1]]),
            )
            place = list(self.graph.node).index(shift)
            self.graph.node.remove(shift)
            self.graph.node.insert(place, joined)

    def slices_to_gathers(self) -> None:
        """Entries of the first axis that are cut out, and if it is one, perhaps without that axis."""
        values = self._values()
        for cut in [node for node in self.graph.node if node.op_type == "Slice"]:
            (start,), (end,), (axis,) = (values[name].tolist() for name in cut.input[1:4])
            assert axis == 0 <= start < end
            entries, last = np.arange(start, end), cut
            takers = self._takers(cut.output[0])
            if len(takers) == 1 and takers[0].op_type == "Squeeze":
                (last,) = takers
                assert values[last.input[1]].tolist() == [0]
                entries = entries.reshape(())
            name = f"{cut.output[0]}.entries"
            self.graph.initializer.append(numpy_helper.from_array(entries, name))
            place = list(self.graph.node).index(last)
            gather = helper.make_node("Gather", [cut.input[0], name], [last.output[0]], axis=0)
            self.graph.node.remove(last)
            self.graph.node.insert(place, gather)

    def name_ends(self) -> None:
        """`images` in, `probabilities` out; sides and batch of any size."""
        (start,), (end,) = self.graph.input, self.graph.output
        for node in self.graph.node:
            node.input[:] = ["images" if name == start.name else name for name in node.input]
            node.output[:] = ["probabilities" if name == end.name else name for name in node.output]
        shape = [one.dim_value or None for one in start.type.tensor_type.shape.dim]
        names = ["batch", "channels", "height", "width"]
        sides: list[int | str | None] = [size or name for size, name in zip(shape, names, strict=True)]
        start.CopyFrom(helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, sides))
        rank = len(end.type.tensor_type.shape.dim)
        axes: list[int | str | None] = ["batch", "steps", "classes"]
        if rank == 4:
            axes = ["batch", 1, "height", "width"]
        end.CopyFrom(helper.make_tensor_value_info("probabilities", onnx.TensorProto.FLOAT, axes))

    def tidy(self) -> None:
        """Drop what nobody takes, name what is left."""
        while True:
            taken = {name for node in self.graph.node for name in node.input} | {"probabilities"}
            idle = [node for node in self.graph.node if not taken & set(node.output)]
            for node in idle:
                self.graph.node.remove(node)
            if not idle:
                break
        kept = [one for one in self.graph.initializer if one.name in taken]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        for number, node in enumerate(self.graph.node):
            node.name = f"{node.op_type.lower()}_{number}"

    def _values(self) -> dict[str, Floats]:
        return {one.name: numpy_helper.to_array(one) for one in self.graph.initializer}

    def _set(self, name: str, value: npt.NDArray[np.generic]) -> None:
        (tensor,) = (one for one in self.graph.initializer if one.name == name)
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), name))

    def _add_bias(self, conv: NodeProto, bias: npt.NDArray[np.generic]) -> None:
        name = f"{conv.input[1]}.bias"
        self.graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
        conv.input.append(name)

    def _maker(self, name: str) -> NodeProto | None:
        return next((node for node in self.graph.node if name in node.output), None)

    def _maker_of(self, name: str) -> NodeProto:
        maker = self._maker(name)
        assert maker is not None
        return maker

    def _takers(self, name: str) -> Sequence[NodeProto]:
        return [node for node in self.graph.node if name in node.input]

    def _drop(self, node: NodeProto, source: str) -> None:
        """Take a node out: whoever took what it gave takes `source`."""
        given = node.output[0]
        self.graph.node.remove(node)
        for taker in self._takers(given):
            taker.input[:] = [source if name == given else name for name in taker.input]
        if given in (one.name for one in self.graph.output):
            self._rename(source, given)

    def _rename(self, name: str, new: str) -> None:
        for node in self.graph.node:
            _replace(node.input, name, new)
            _replace(node.output, name, new)


def _replace(names: Iterable[str], name: str, new: str) -> None:
    changed = [new if one == name else one for one in names]
    names[:] = changed  # type: ignore[index]
