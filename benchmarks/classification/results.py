"""The file of results: one JSON line a run, appended as it ends: no run is lost, and none done twice."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Key = tuple[str, str, int, float, str, int]


@dataclass(frozen=True)
class Result:
    """One training and how good it is on the test side.

    `seconds` are of training by the `clock`; `right` is a 1 or 0 for each image of the test side, in the
    order of their keys; `curve` has [seconds, accuracy or None, validation accuracy]; `images` the sizes of
    the sides; `machine` what `measuring.Machine.used` says. Shares are 0 to 1.
    """

    set: str
    method: str
    seed: int
    budget: float
    clock: str
    threads: int
    seconds: float
    first_seconds: float | None
    images_per_s: float
    accuracy: float
    validation: float
    log_loss: float
    ece: float
    right: str
    images: dict[str, int]
    curve: list[list[float | None]]
    facts: dict[str, Any]
    machine: dict[str, float]
    revision: str

    @property
    def key(self) -> Key:
        """What makes this the same run as another one."""
        return self.set, self.method, self.seed, self.budget, self.clock, self.threads

    @property
    def hits(self) -> npt.NDArray[np.float64]:
        """`right` as numbers."""
        return np.frombuffer(self.right.encode(), np.uint8).astype(np.float64) - ord("0")


def read(path: Path) -> list[Result]:
    """All results of a file, none where there is no file. Raises `ValueError` for a line that is none."""
    if not path.is_file():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Result(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {number}, is no result ({error}); remove the line") from None
    return found


def append(path: Path, result: Result) -> None:
    """Add a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(asdict(result), allow_nan=False, default=str) + "\n")


def wilson(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share that was read off so many images (Wilson, 1927).

    Seeds judge the same images, so several of them do not make the interval narrower.
    """
    z = 1.96
    middle = (share + z * z / (2 * images)) / (1 + z * z / images)
    half = z / (1 + z * z / images) * math.sqrt(share * (1 - share) / images + z * z / (4 * images**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def difference(ours: list[Result], others: list[Result]) -> tuple[float, float, float]:
    """Mean accuracy of the ones less that of the others, with a 95 % interval: bootstrap over the images that
    both judged, of the share of seeds that had each right. Raises `ValueError` for different test sides.
    """
    if len({len(one.right) for one in (*ours, *others)}) > 1:
        raise ValueError(f"the results of {ours[0].set} are of different test sides; remove the older ones")
    gap = np.mean([one.hits for one in ours], axis=0) - np.mean([one.hits for one in others], axis=0)
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(gap), np.full(len(gap), 1 / len(gap)), size=20_000) @ gap / len(gap)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(gap.mean()), float(low), float(high)
