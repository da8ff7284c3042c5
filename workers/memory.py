"""How the C library of a worker hands out memory, which can only be said before the process starts.

A training step allocates and frees hundreds of megabytes. By default glibc gives large blocks back to the
kernel at once, and every step pays for zeroed pages again. Kept, and on huge pages, a step of
EfficientNet-Lite0 at 224 pixels took 0.9 instead of 1.27 s of CPU time (16 images, one thread, AMD EPYC). The
memory goes back when the process that trains ends, and there is one for each task.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_KEEP = str(8 * 1024**3)  # larger than any block of a training: none is given back
ENVIRONMENT: Mapping[str, str] = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # ask for transparent huge pages (glibc 2.35; else ignored)
    "MALLOC_MMAP_THRESHOLD_": _KEEP,
    "MALLOC_TRIM_THRESHOLD_": _KEEP,
    "MALLOC_TOP_PAD_": str(64 * 1024**2),
}


def missing() -> dict[str, str]:
    """What this process was not started with; what a user has set stays as it is."""
    return {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}


def restart_if_needed(module: str) -> None:
    """Replace this process by itself (`python -m module` with the same arguments) once the variables are set.

    Returns when they were set before; the process keeps its number, so a supervisor notices nothing.
    """
    lacking = missing()
    if lacking:
        arguments = [sys.executable, "-m", module, *sys.argv[1:]]
        os.execve(sys.executable, arguments, {**os.environ, **lacking})
