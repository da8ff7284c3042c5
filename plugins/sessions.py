"""ONNX Runtime sessions of networks whose input has one size."""

from __future__ import annotations

from typing import Any

import onnxruntime


def open_session(graph: bytes, *, threads: int) -> Any:
    """An ONNX Runtime session of a serialised graph, with the options that models are served with."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait halve the speed when anything else uses the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
