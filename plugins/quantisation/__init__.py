"""Networks in int8, whatever they are for: how they are made (`quantiser`), which layers suffer
(`sensitivity`), how fast they are on this machine (`speed`). Each plugin holds its own rule of what is as
good as fp32.
"""

from __future__ import annotations

import os
from pathlib import Path

SPARED = (0.0, 0.1, 0.25)
"""Shares of the convolutions that stay in fp32, to be tried in this order."""


class Stopped(Exception):
    """The user asked to stop."""


def write(path: Path, content: bytes) -> None:
    """The whole file or none. Raises `OSError`."""
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
