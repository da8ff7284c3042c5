"""Checkpoints: one safetensors file whose header carries a JSON record, written under another name and then
renamed. A killed process leaves either the old one or the new one.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import safetensors
import safetensors.torch
from torch import Tensor

from plugins.contract import PluginError

Weights = dict[str, Tensor]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file that appears under its name only when complete.

    Raises `PluginError` (`disk_full`); on any fault nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise PluginError("disk_full", f"no space left on the disk while writing {path.name}") from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write tensors and a JSON record as one file. Raises `PluginError` (`disk_full`)."""
    data = to_bytes(tensors, record)
    with whole_file(path) as stream:
        stream.write(data)


def to_bytes(tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> bytes:
    """The content of a checkpoint."""
    plain = {name: value.contiguous() for name, value in tensors.items()}
    return safetensors.torch.save(plain, {"record": json.dumps(dict(record), allow_nan=False)})


def from_bytes(data: bytes) -> tuple[Weights, dict[str, Any]]:
    """What `to_bytes` gave."""
    length = int.from_bytes(data[:8], "little")  # of the header, see the safetensors format
    header = json.loads(data[8 : 8 + length])
    return safetensors.torch.load(data), json.loads(header["__metadata__"]["record"])


def read_checkpoint(path: Path) -> tuple[Weights, dict[str, Any]]:
    """What `write_checkpoint` wrote. Raises `FileNotFoundError`, `ValueError` or `SafetensorError`."""
    with safetensors.safe_open(path, "pt") as opened:
        record = json.loads((opened.metadata() or {}).get("record", "null"))
        if not isinstance(record, dict):
            raise ValueError(f"{path.name} has no record")
        return {name: opened.get_tensor(name) for name in opened.keys()}, record  # noqa: SIM118


def part(tensors: Mapping[str, Tensor], prefix: str) -> Weights:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
