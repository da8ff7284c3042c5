"""Bundles, images and requests for the tests of the model server."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from plugins import bundle as bundles
from tests.workers.bundles import bare


def make_bundle(
    folder: Path, hold: Path, *, version: int = 1, red: float = 1.0, **model: Any
) -> bundles.Bundle:
    """A bundle of the tiny plugin; its labels tell the version."""
    (folder / "test_vectors").mkdir(parents=True)
    onnx.save(_graph(), folder / "model.onnx")
    (folder / "test_vectors" / "red.png").write_bytes(picture("red"))
    expected = [{"file": "red.png", "outputs": [{"label": f"red@{version}", "conf": red}]}]
    (folder / "test_vectors" / "expected.json").write_text(json.dumps(expected))
    labels = [f"{name}@{version}" for name in ("red", "green", "blue")]
    values = {"labels": labels, "hold": str(hold), **model}
    return bundles.write(folder, bare(f"colours{version}", "tiny", plugin="tiny", model=values))


def _graph() -> onnx.ModelProto:
    """Softmax of ten times the mean colour."""
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "ten"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["scores"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
        numpy_helper.from_array(np.array(10, np.float32), "ten"),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 8, 8, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def picture(colour: str, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    """An image of one colour."""
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


def item(image: bytes) -> dict[str, str]:
    """One entry of dataArray."""
    return {"name": "image", "type": "stream", "body": base64.b64encode(image).decode()}


def body(*images: bytes) -> bytes:
    """The body of a request."""
    return json.dumps({"dataArray": [item(image) for image in images]}).encode()


def labels(answer: dict[str, Any]) -> Sequence[str]:
    """The labels of an answer, best first."""
    return [output["label"] for output in answer["result"]["output"]]
