"""Some of many."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def spread(count: int, most: int) -> npt.NDArray[np.int64]:
    """Numbers of at most `most` of `count` things, rising and evenly spread: images lie in the order of their
    keys, so of those in class folders these are some of every class.
    """
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
