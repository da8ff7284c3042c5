"""How many times faster a network is in int8, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from plugins.quantisation import Stopped

_PAIRS = 24


@dataclass(frozen=True)
class Speed:
    """Seconds of one run on one thread, medians; `ratio` says how many times faster int8 is: quartiles of
    the ratios of runs that followed each other.
    """

    fp32: float
    int8: float
    ratio: tuple[float, float, float]

    @property
    def faster(self) -> bool:
        """Whether three of four pairs of runs were faster in int8."""
        return self.ratio[0] > 1

    def facts(self) -> Mapping[str, Any]:
        """As JSON."""
        lower, middle, upper = (round(value, 2) for value in self.ratio)
        return {
            "seconds_fp32": round(self.fp32, 5),
            "seconds_int8": round(self.int8, 5),
            "times_faster": middle,
            "times_faster_quartiles": [lower, upper],
        }


def measure(
    fp32: Callable[[int], object],
    int8: Callable[[int], object],
    *,
    stop: Callable[[], bool],
    pairs: int = _PAIRS,
) -> Speed:
    """Time two networks of one thread in turns; each gets the number of the run, to vary its input.

    The processor time of the calling thread, which does all the work, is what is read: it does not count what
    other programs take from the cores meanwhile. Raises `Stopped`.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    for number in range(-2, pairs):
        if stop():
            raise Stopped
        for run, record in zip((fp32, int8), seconds, strict=True):
            started = time.thread_time()
            run(number)
            if number >= 0:  # the first runs allocate memory
                record.append(time.thread_time() - started)
    one, other = (np.maximum(record, 1e-9) for record in seconds)
    lower, middle, upper = (float(value) for value in np.percentile(one / other, (25, 50, 75)))
    return Speed(float(np.median(one)), float(np.median(other)), (lower, middle, upper))
