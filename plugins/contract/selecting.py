"""Which images to label next, and which labels and texts are doubtful."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from plugins.contract.predicting import Output, Reader


@dataclass(frozen=True)
class Pick:
    """An image to label: the `index` of its row, the algorithm's own measure (larger is better), and the
    reason: `uncertain`, `different`, `typical` or `random`.
    """

    index: int
    score: float
    reason: str


@dataclass(frozen=True)
class Doubt:
    """A label that a model contradicts: the `index` of the image's row, or of the text, what the label says,
    what the model says instead, and how sure that is (0..1).
    """

    index: int
    given: str
    suggested: str
    confidence: float


class Selection(Protocol):
    """Which labels pay and which are doubtful, by the rows of an `Embedder`: a module with these functions.
    `labels` has the class name of each row, None for an unlabelled image.
    """

    def rank(self, rows: Any, labels: Sequence[str | None], count: int, *, seed: int) -> list[Pick]:
        """The `count` unlabelled images to label next, the best first; fewer where there are no more."""

    def doubts(self, rows: Any, labels: Sequence[str | None], groups: Sequence[str]) -> list[Doubt]:
        """The labels that are probably wrong, the worst first. Images of one group are alike.

        Raises `PluginError` (`too_few_images`) where there is too little to learn from.
        """


class Proofreading(Protocol):
    """Which texts are doubtful, by what a `Reader` reads in their regions: a module with this function."""

    def doubts(self, texts: Sequence[str], outputs: Sequence[Output]) -> list[Doubt]:
        """The texts, each with what was read there, that are probably wrong, the worst first."""


OpenReader = Callable[..., tuple[str, Reader]]
"""`open_reader(texts: Iterable[str], *, threads: int)` for texts like these: a version, and the reader before
any training. Raises `PluginError`."""
