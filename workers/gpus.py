"""Which GPUs this host has, asked of `nvidia-smi`: the worker's parent loads no training framework."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from backend.settings import SettingsError


@dataclass(frozen=True)
class Gpu:
    """One GPU; `type` is short and lower-case: `a100`, `h100`, `rtx-4090`."""

    index: str
    type: str


def find(wanted: str) -> list[Gpu]:
    """The GPUs to serve: all when `wanted` is empty, no GPU for `none`, else those of the list.

    Raises `SettingsError` when one that is named does not exist.
    """
    if wanted == "none":
        return []
    present = {gpu.index: gpu for gpu in _ask()}
    if not wanted:
        return list(present.values())
    indices = [index.strip() for index in wanted.split(",")]
    for index in indices:
        if index not in present:
            raise SettingsError(
                f"there is no GPU {index!r} on this host; it has {', '.join(present) or 'none'}"
            )
    return [present[index] for index in indices]


def visible() -> int:
    """How many GPUs this process was given."""
    return len([index for index in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if index.strip()])


def _ask() -> list[Gpu]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=index,name", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.partition(",") for line in answer.splitlines() if "," in line]
    return [Gpu(index.strip(), _short(name)) for index, _, name in rows]


def _short(name: str) -> str:
    """`NVIDIA A100-SXM4-80GB` is an `a100`, `NVIDIA GeForce RTX 4090` an `rtx-4090`."""
    words = re.sub(r"nvidia|geforce|tesla|quadro", "", name.lower()).replace("-", " ").split()
    if not words:
        return "gpu"
    return "-".join(words[:2]) if words[0] in ("rtx", "gtx") else words[0]
