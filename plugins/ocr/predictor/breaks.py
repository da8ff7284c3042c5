"""Where a line that was found is several texts.

People mark texts by what they mean: `CASH` and the `:` beside it as two, `TAX INVOICE` as one although its
gap is as wide. No threshold on the map tells these apart, so each gap of a line is judged by its width beside
the other gaps and by what is read on either side. What the judge has learned from are the labels
(`plugins.ocr.trainer.breaks`); a bundle without it leaves lines as they are found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from plugins.contract import PluginError
from plugins.ocr.predictor.lines import Quads, Reading
from plugins.ocr.predictor.network import Floats, Pixels

LEAST = 0.2  # times the line's height: narrower gaps are those between letters
FEATURES, WIDTHS = 27, 3  # values known of a gap; the first ones grow with its width
_INK = 0.35  # share of a line's usual contrast from which on something is written in a column
_USUAL = 90  # percentile of the columns' contrast
_EDGE = 0.1  # of the height, above and below: neighbouring lines and rules reach into a box there
_PAD = 0.1  # times the height: how far a text's box goes beyond its last letter
DIVIDED = 0.5  # probability
_NEAR = 20  # characters from which on a text is simply long


@dataclass(frozen=True)
class Line:
    """A line as it was found and read: `corners` (4, 2) of its box in pixels of the image, from where its
    reading begins, `around` (4, 2) those of what was looked at, which are a little farther apart, `pixels` of
    it (height, width, 3), and what it says.
    """

    corners: Quads
    around: Quads
    pixels: Pixels
    reading: Reading


@dataclass(frozen=True)
class Gaps:
    """The gaps of a line that could divide it: from and to in pixels of what was looked at (n, 2), and what
    is known of each (n, FEATURES).
    """

    spans: Floats
    values: Floats

    def __len__(self) -> int:
        return len(self.spans)


def gaps(line: Line) -> Gaps:
    """Those with something read on both sides."""
    height = line.pixels.shape[0]
    every = blanks(line.pixels)
    wide = [span for span in every if span[1] - span[0] >= LEAST * height]
    letters = [(one.text, one.place) for one in line.reading.letters if not one.text.isspace()]
    wide = [
        (start, end) for start, end in wide if letters and letters[0][1] < (start + end) / 2 <= letters[-1][1]
    ]
    if not wide:
        return Gaps(np.zeros((0, 2), np.float32), np.zeros((0, FEATURES), np.float32))
    widths = np.array([end - start for start, end in wide]) / height
    spacing = float(np.median([end - start for start, end in every])) / height
    values = [
        [*_beside(widths, place), spacing, *_around(line.reading, (start + end) / 2)]
        for place, (start, end) in enumerate(wide)
    ]
    return Gaps(np.array(wide, np.float32), np.array(values, np.float32))


def blanks(line: Pixels) -> list[tuple[int, int]]:
    """From and to of the columns between letters in which nothing is written."""
    grey = cv2.cvtColor(line, cv2.COLOR_BGR2GRAY).astype(np.int16)
    edge = round(_EDGE * len(grey))
    middle = grey[edge : max(len(grey) - edge, edge + 1)]
    contrast = middle.max(0) - middle.min(0)
    written = np.flatnonzero(contrast > _INK * np.percentile(contrast, _USUAL))
    return [(left + 1, right) for left, right in pairwise(written.tolist()) if right - left > 1]


def _beside(widths: npt.NDArray[np.float64], place: int) -> list[float]:
    """A gap's width in heights: itself, and beside the usual and the widest of the line's other gaps."""
    others = np.delete(widths, place)
    usual, widest = (float(np.median(others)), float(others.max())) if len(others) else (0.5, 0.3)
    width = float(widths[place])
    return [width, width - usual, width - widest]


def _around(reading: Reading, middle: float) -> list[float]:
    """What is read on both sides of a place."""
    left = "".join(one.text for one in reading.letters if one.place < middle).strip()
    right = "".join(one.text for one in reading.letters if one.place >= middle).strip()
    last, first = (left.split() or [""])[-1], (right.split() or [""])[0]
    return [
        *_kind(left[-1:]),
        *_kind(right[:1]),
        *(float(any(character.isdigit() for character in word)) for word in (last, first)),
        float(len(last)),
        float(len(first)),
        float(min(len(left), _NEAR)),
        float(min(len(right), _NEAR)),
        *(float(_is_number(word)) for word in (last, first)),
        float(":" in left),
        float(":" in right),
        float(first == ":"),
        float(last == ":"),
        float(_is_number(left)),
    ]


def _kind(character: str) -> tuple[float, ...]:
    """Digit, letter, colon, other punctuation of numbers and names, or anything else."""
    digit, letter = character.isdigit(), character.isalpha()
    colon, point = character == ":", character in (".", ",", "-")
    other = bool(character) and not (digit or letter or colon or point)
    return tuple(map(float, (digit, letter, colon, point, other)))


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace(",", "").isdigit()


class Breaks:
    """The judge of gaps, an ONNX Runtime session; thread-safe."""

    def __init__(self, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        ((self._name, (_, features)),) = ((one.name, one.shape) for one in self._session.get_inputs())
        if features != FEATURES:
            raise ValueError(f"it asks for {features} values of a gap, there are {FEATURES}")

    def probabilities(self, values: Floats) -> Floats:
        """What is known of gaps (n, FEATURES) -> the probability of each that it lies between two texts (n).
        Raises `PluginError`.
        """
        try:
            (answer,) = self._session.run(None, {self._name: values})
        except Exception as error:  # ONNX Runtime has no common base class for what it raises
            raise PluginError("model_failed", f"the model failed: {error}") from error
        return np.asarray(answer, np.float32).reshape(-1)

    def divide(self, line: Line) -> Iterator[tuple[Quads, Reading]]:
        """The texts of a line: corners (4, 2) in pixels of the image and what each says; the line itself
        where it is one. Raises `PluginError`.
        """
        found = gaps(line)
        cut = found.spans[self.probabilities(found.values) > DIVIDED] if len(found) else found.spans
        yield from pieces(line, cut)


def pieces(line: Line, cuts: Floats) -> Iterator[tuple[Quads, Reading]]:
    """A line divided at these gaps (n, 2), from left to right. A piece in which nothing is read is none."""
    if not len(cuts):
        yield line.corners, line.reading
        return
    height, width = line.pixels.shape[:2]
    ends = np.minimum(cuts[:, 0] + _PAD * height, cuts.mean(1)) / width
    starts = np.maximum(cuts[:, 1] - _PAD * height, cuts.mean(1)) / width
    middles = [0.0, *cuts.mean(1).tolist(), float(width)]
    for place, (low, high) in enumerate(pairwise(middles)):
        said = line.reading.between(low, high)
        if said.text:
            left = _across(line.around, starts[place - 1]) if place else line.corners[[0, 3]]
            right = _across(line.around, ends[place]) if place < len(cuts) else line.corners[[1, 2]]
            yield np.stack([left[0], right[0], right[1], left[1]]).astype(np.float32), said


def _across(corners: Quads, share: np.float32) -> Quads:
    """The upper and the lower end (2, 2) of a cut at this share of the way along the line."""
    return np.asarray(corners[[0, 3]] + (corners[[1, 2]] - corners[[0, 3]]) * share, np.float32)


def open_breaks(folder: Path, model: Mapping[str, Any]) -> Breaks | None:
    """The judge of this manifest; None where lines stay as they are found. Raises whatever a damaged file
    makes its readers raise.
    """
    said = model.get("breaks")
    return Breaks((folder / said["file"]).read_bytes()) if said else None
