"""Which answer belongs to which marked region of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plugins.contract import Example, Prediction, Region
from plugins.ocr import geometry
from plugins.ocr.text import is_of_lines, loosely, normalise

IOU = 0.5
_WITHIN_IGNORED = 0.5  # share of an answer's area inside ignored regions from which on it does not count


@dataclass(frozen=True)
class Pair:
    """A region and the answer found there; one of them is missing where nothing fits. `truth` is None of a
    region that nobody transcribed.
    """

    region: Region | None
    truth: str | None
    answer: str | None
    conf: float
    pos: geometry.Quads | None  # of the answer, in pixels of the upright image

    @property
    def located(self) -> bool:
        """Whether an answer lies where a region is."""
        return self.region is not None and self.answer is not None

    @property
    def judged(self) -> bool:
        """Whether something can be said about the reading: there is a region with a transcription, or an
        answer where no region is.
        """
        return self.region is None or self.truth is not None

    @property
    def exact(self) -> bool:
        """Whether the text is right as it stands."""
        return self.located and self.truth == self.answer

    @property
    def right(self) -> bool:
        """Whether the text is right but for case and spaces."""
        if not self.located or self.truth is None or self.answer is None:
            return False
        return self.exact or loosely(self.truth) == loosely(self.answer)


def pairs(example: Example, prediction: Prediction) -> list[Pair]:
    """Every region that counts and every answer that counts, once each.

    The pairs of the highest intersection over union are taken first, from `IOU` on, one answer a region.
    Regions that are ignored or hold several lines, which no line that is found can be, do not count, nor do
    answers that lie mostly in them.
    """
    hides = [region.ignored or is_of_lines(region.text) for region in example.regions]
    outputs = [output for output in prediction.outputs if output.pos is not None]
    size = (max(example.width, 1), max(example.height, 1))
    found = np.array([output.pos for output in outputs], np.float32).reshape(-1, 4, 2) * np.array(
        size, np.float32
    )
    counted = [region for region, hidden in zip(example.regions, hides, strict=True) if not hidden]
    matched = located(geometry.quads(counted), found)
    others = [region for region, hidden in zip(example.regions, hides, strict=True) if hidden]
    inside = geometry.intersections(found, geometry.quads(others)).sum(1)
    covered = inside > _WITHIN_IGNORED * np.maximum(geometry.areas(found), 1e-9)
    answers = {place: (normalise(one.label), one.conf, found[place]) for place, one in enumerate(outputs)}
    result = [
        Pair(region, _truth(region), *answers[matched[row]])
        if row in matched
        else Pair(region, _truth(region), None, 0.0, None)
        for row, region in enumerate(counted)
    ]
    taken = set(matched.values())
    return result + [
        Pair(None, None, *answers[place])
        for place in range(len(outputs))
        if place not in taken and not covered[place]
    ]


def _truth(region: Region) -> str | None:
    """The transcription; an empty one says as little as none."""
    return normalise(region.text or "") or None


def located(marked: geometry.Quads, found: geometry.Quads) -> dict[int, int]:
    """Place of each marked text (n, 4, 2) that is found -> place of the found one (m, 4, 2)."""
    overlap = geometry.overlaps(marked, found)
    rows, columns = np.nonzero(overlap >= IOU)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    result: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in result and column not in taken:
            result[row] = column
            taken.add(column)
    return result


def all_pairs(examples: Sequence[Example], predictions: Sequence[Prediction]) -> list[list[Pair]]:
    """The pairs of every image, in order."""
    return [pairs(one, other) for one, other in zip(examples, predictions, strict=True)]


def changes(
    examples: Sequence[Example], before: Sequence[Prediction], after: Sequence[Prediction]
) -> tuple[int, int]:
    """How many marked texts are right (but for case and spaces) only after, and how many only before."""
    gained = lost = 0
    for one, other in zip(all_pairs(examples, before), all_pairs(examples, after), strict=True):
        was, becomes = ({id(pair.region) for pair in some if pair.right} for some in (one, other))
        gained, lost = gained + len(becomes - was), lost + len(was - becomes)
    return gained, lost
