"""A trained network as ONNX: bytes in, probabilities out, checked against the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import safetensors.torch
import torch

from plugins.classification import preprocess
from plugins.classification.bases import Network
from plugins.classification.bases.vision import VisionNetwork
from plugins.classification.exporter import graph, vision
from plugins.classification.predictor import open_predictor
from plugins.contract import PluginError
from plugins.fitting import whole_file

_TOLERANCE = 1e-3


def export(network: Network, labels: tuple[str, ...], size: int, folder: Path) -> Mapping[str, Any]:
    """Write `model.onnx`, `weights.safetensors` and `head.npz` (the last layer, for evidence maps) into the
    folder; the `Draft.model` that opens them.

    Raises `PluginError`: `disk_full`, or `export_differs` when the file answers otherwise than the network.
    """
    network = network.eval().cpu()
    folder.mkdir(parents=True, exist_ok=True)
    model = {
        "file": "model.onnx",
        "labels": list(labels),
        "image_size": size,
        "preprocessing": {"resize": "square, bicubic", "values": "bytes 0 to 255, normalised by the graph"},
    }
    with whole_file(folder / "model.onnx") as stream:
        stream.write(_graph(network, size).SerializeToString())
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    with whole_file(folder / "weights.safetensors") as stream:
        stream.write(safetensors.torch.save(weights))
    with whole_file(folder / "head.npz") as stream:
        np.savez(stream, weight=network.head.weight.detach().numpy(), bias=network.head.bias.detach().numpy())
    _compare(network, size, folder, model)
    return model


def _graph(network: Network, size: int) -> onnx.ModelProto:
    return vision.of(network, size) if isinstance(network, VisionNetwork) else graph.of(network, size)


def to_input(rows: preprocess.Pixels, device: str) -> torch.Tensor:
    """(images, size, size, 3) bytes -> floats (images, 3, size, size) of 0..255, channels last in memory."""
    return torch.from_numpy(np.array(rows)).to(device).permute(0, 3, 1, 2).float()


def _compare(network: Network, size: int, folder: Path, model: Mapping[str, Any]) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    with torch.inference_mode():
        expected = torch.softmax(network(to_input(rows, "cpu")), 1).numpy()
    given = open_predictor(folder, model, threads=1).probabilities(rows)
    if not np.allclose(given, expected, atol=_TOLERANCE):
        raise PluginError("export_differs", "the exported model does not answer as the trained one does")
