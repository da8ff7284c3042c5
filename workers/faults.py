"""What is said of a fault that was not foreseen."""

from __future__ import annotations

import errno

from backend.errors import AppError, StorageFull


def explain(error: Exception) -> tuple[str, str]:
    """A code and a sentence for what was not foreseen; the traceback stands in the worker's log only."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull.code, "the worker's disk is full; free some space and start the task again"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "out_of_memory", "the training needs more memory than the worker has; try a smaller image size"
    return AppError.code, f"an unexpected {type(error).__name__}; the worker's log has the details"
