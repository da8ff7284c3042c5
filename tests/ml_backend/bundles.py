"""Bundles for tests of the ML backend and of pre-labeling: made in a moment, opened by real predictors."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from plugins import bundle as bundles
from plugins.bundle import Bundle
from tests.plugins.ocr_renderings import ASCII

LABELS = ("red", "green", "blue")
_SIDE = 8


def classifier(folder: Path, name: str, labels: tuple[str, ...] = LABELS) -> Bundle:
    """Tells red, green and blue by the plugin `classification`; for a black image it gives no number."""
    folder.mkdir(parents=True)
    onnx.save(_graph(), folder / "model.onnx")
    return _bundle(
        folder, name, "classification", {"file": "model.onnx", "labels": labels, "image_size": _SIDE}
    )


def reader(folder: Path, name: str, hold: Path, **model: Any) -> Bundle:
    """A model of the plugin `reading`."""
    folder.mkdir(parents=True)
    (folder / "note.txt").write_text("reads colours")
    return _bundle(folder, name, "reading", {"hold": str(hold), **model})


def texts(folder: Path, name: str) -> Bundle:
    """A reader of text by the plugin `ocr`: the pretrained networks as they are, cut to ASCII."""
    from plugins.ocr import bases, exporter

    draft = exporter.untrained(bases.load("pp-ocrv6-small", None, True), folder, ASCII)
    return _bundle(folder, name, "ocr", json.loads(json.dumps(draft.model)))


def _bundle(folder: Path, name: str, plugin: str, model: dict[str, Any]) -> Bundle:
    empty: dict[str, Any] = {}
    manifest = bundles.Manifest(
        plugin=plugin,
        algorithm=plugin,
        name=name,
        created_at="2026-01-01T00:00:00Z",
        model=model,
        metrics=empty,
        details=empty,
        base=empty,
        facts=empty,
        parameters=empty,
        snapshot="",
        libraries={},
        files={},
    )
    return bundles.write(folder, manifest)


def _graph() -> onnx.ModelProto:
    """Softmax of ten times the mean colour's share of red, green and blue."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "places"], ["mean"], keepdims=0),
        helper.make_node("ReduceSum", ["mean", "channels"], ["sum"], keepdims=1),
        helper.make_node("Div", ["mean", "sum"], ["share"]),
        helper.make_node("Mul", ["share", "ten"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probabilities"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.array([1, 2], np.int64), "places"),
        numpy_helper.from_array(np.array([1], np.int64), "channels"),
        numpy_helper.from_array(np.array(10, np.float32), "ten"),
    ]
    shape: list[str | int | None] = ["n", _SIDE, _SIDE, 3]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def picture(colour: str, size: tuple[int, int] = (40, 30), form: str = "PNG") -> bytes:
    """An image of one colour; `lime` is pure green."""
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()
