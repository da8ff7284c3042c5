"""A network of a bundle on ONNX Runtime, with what its input has to be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from plugins.contract import PluginError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Input:
    """How bytes become a network's input; see `plugins.ocr.bases.network.Input`, whose JSON this reads."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        mean, deviation = (np.asarray(said[name], np.float32) for name in ("mean", "deviation"))
        self.multiple = int(said["multiple"])
        self.height = int(said["height"]) if "height" in said else None
        self._reverse = said["order"] == "rgb"
        self._scale, self._shift = 1 / (255 * deviation), -mean / deviation

    def normalised(self, rows: Pixels) -> Floats:
        """Blue, green and red (n, height, width, 3) -> (n, 3, height, width)."""
        count, height, width, _ = rows.shape
        answer = np.empty((count, 3, height, width), np.float32)
        for channel in range(3):
            source = rows[..., 2 - channel if self._reverse else channel]
            np.multiply(source, self._scale[channel], out=answer[:, channel])
            answer[:, channel] += self._shift[channel]
        return answer


class Network:
    """An ONNX Runtime session; thread-safe."""

    def __init__(self, graph: bytes, said: Mapping[str, Any], *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin while they wait halve the speed when anything else uses the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Every page has another size: an arena would keep the largest of everything ever asked for.
        options.enable_cpu_mem_arena = False
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.input = Input(said)
        ((self._name, (_, channels, height, _)),) = (
            (one.name, one.shape) for one in self._session.get_inputs()
        )
        if channels != 3 or (isinstance(height, int) and height != self.input.height):
            raise ValueError(f"its input is {channels} x {height}, not what the manifest says")
        self.classes = self._session.get_outputs()[0].shape[-1]

    def run(self, rows: Pixels) -> Floats:
        """Blue, green and red (n, height, width, 3) -> what the network answers. Raises `PluginError`."""
        try:
            (answer,) = self._session.run(None, {self._name: self.input.normalised(rows)})
        except Exception as error:  # ONNX Runtime has no common base class for what it raises
            raise PluginError("model_failed", f"the model failed: {error}") from error
        if not np.isfinite(answer).all():
            raise PluginError("model_failed", "the model answered a value that is not a number")
        return np.asarray(answer, np.float32)


def open_network(folder: Path, said: Mapping[str, Any], *, threads: int) -> Network:
    """The network of this part of the manifest. Raises whatever a damaged file makes its readers raise."""
    # From bytes: a model read this way cannot refer to other files of the host.
    return Network((folder / said["file"]).read_bytes(), said["input"], threads=threads)
