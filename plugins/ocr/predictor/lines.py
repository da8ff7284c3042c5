"""Texts cut out of a page, and read in batches of like width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from plugins.ocr import direction, geometry
from plugins.ocr.predictor.language import SURE, Language, keeps_digits
from plugins.ocr.predictor.network import Floats, Network, Pixels

Quads = npt.NDArray[np.float32]

_UPRIGHT_FROM = 1.5  # height by width from which on a text is taken to run downwards or upwards
_BATCH = 3_200  # pixels of width in one batch; more is not faster and takes memory
_PADDED = 1.25  # a line may be padded to this times its width
_LONGEST = 100  # times its height: a box narrower than that holds no text
_GREY = 127  # what training pads with
_SEARCH = 1.0  # times the height: how far from its place a long line may be split
_RARE = 0.15  # of confidence
_SEVERAL = 3  # texts that say how an image lies
_FLAT = 12.0  # contrast in a column below which nothing is written there
_SPACE = 0.2  # times the height: a gap from which on it is a space


@dataclass(frozen=True)
class Letter:
    """One character, its middle in pixels from where its line begins, and its probability."""

    text: str
    place: float
    conf: float


@dataclass(frozen=True)
class Reading:
    """What a line says as people write it, with the mean probability of its characters; `turned` if it was
    read upside down. Its `letters` stand as they are seen, from left to right in every script, and may begin
    and end with spaces, which the text does not.
    """

    text: str
    conf: float
    turned: bool = False
    letters: tuple[Letter, ...] = ()

    @classmethod
    def of(cls, letters: Sequence[Letter]) -> Reading:
        """What these letters say."""
        conf = float(np.mean([one.conf for one in letters])) if letters else 0.0
        text = direction.turned("".join(one.text for one in letters).strip())
        return cls(text, min(max(conf, 0.0), 1.0), letters=tuple(letters))

    def between(self, start: float, end: float) -> Reading:
        """What stands between these pixels."""
        return replace(
            Reading.of([one for one in self.letters if start <= one.place < end]), turned=self.turned
        )


def along_the_line(corners: Quads) -> Quads:
    """The corners (4, 2) so that the text runs along the first side: of one much higher than wide they are
    turned by 90 degrees, to be read downwards; whether it is upside down then, reading shows.
    """
    width, height = geometry.sides(corners)
    return np.roll(corners, -1, axis=0) if height >= _UPRIGHT_FROM * width else corners


def widened(corners: Quads, margin: float) -> Quads:
    """Corners (4, 2) with both ends of the line moved outwards by `margin` times its height."""
    width, height = geometry.sides(corners)
    along = (corners[[1, 2]] - corners[[0, 3]]) * np.float32(margin * height / max(width, 1e-6))
    return np.stack(
        [corners[0] - along[0], corners[1] + along[0], corners[2] + along[1], corners[3] - along[1]]
    )


def crop(image: Pixels, corners: Quads, height: int) -> Pixels:
    """The text between the corners, made upright, `height` pixels high and as wide as its proportions say."""
    across, down = (max(side, 1.0) for side in geometry.sides(corners))
    width = min(max(round(height * across / down), height // 4), _LONGEST * height)
    # Larger texts are first cut out at a whole multiple and then averaged: nothing is skipped.
    factor = max(1, int(down / height))
    size = width * factor, height * factor
    target = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float32)
    low = np.floor(corners.min(0)).astype(int) - 2
    high = np.ceil(corners.max(0)).astype(int) + 3
    low, high = (np.clip(one, 0, image.shape[1::-1]) for one in (low, high))
    part = image[low[1] : high[1], low[0] : high[0]]
    if not part.size:
        return np.full((height, width, 3), _GREY, np.uint8)
    matrix = cv2.getPerspectiveTransform((corners - low).astype(np.float32), target)
    seen = cv2.warpPerspective(part, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if factor > 1:
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(seen, np.uint8)


def batches(widths: Sequence[int]) -> Iterator[list[int]]:
    """Places of the lines of each batch: neighbours in width, none padded much."""
    batch: list[int] = []
    for place in sorted(range(len(widths)), key=lambda place: widths[place]):
        if batch and (
            widths[place] > _PADDED * widths[batch[0]] + 16 or widths[place] * (len(batch) + 1) > _BATCH
        ):
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


class Reader:
    """The recogniser: crops -> texts."""

    def __init__(
        self,
        network: Network,
        characters: Sequence[str],
        *,
        widest: int,
        turn_below: float,
        language: Language | None = None,
    ) -> None:
        assert network.input.height is not None
        self.network, self.height, self._language = network, network.input.height, language
        self._letters = ["", *characters]
        self._characters = np.array(self._letters)
        self._widest, self._turn_below = widest, turn_below

    def read(self, crops: Sequence[Pixels], downwards: Sequence[bool]) -> list[Reading]:
        """What each crop says. Those that are read with a low confidence are read upside down as well, and
        the better one of the two counts. Upside-down text is rare, and short texts often look like others
        then, so it has to be better by `_RARE`; not so for text that runs downwards or upwards.
        """
        upright = self._lines(crops)
        doubtful = [place for place, one in enumerate(upright) if one.conf < self._turn_below]
        turned = self._lines([np.ascontiguousarray(crops[place][::-1, ::-1]) for place in doubtful])
        for place, one in zip(doubtful, turned, strict=True):
            lead = 0.0 if downwards[place] else _RARE
            if one.text and one.conf > upright[place].conf + lead:
                upright[place] = replace(one, turned=True)
        self._turn_the_rest(upright, crops, downwards)
        return upright

    def _turn_the_rest(
        self, readings: list[Reading], crops: Sequence[Pixels], downwards: Sequence[bool]
    ) -> None:
        """On an image most of whose text is upside down, texts that read well either way are so, too."""
        for along in (False, True):
            places = [place for place, one in enumerate(downwards) if one == along]
            turned = [crops[place].shape[1] for place in places if readings[place].turned]
            if len(turned) < _SEVERAL or 2 * sum(turned) <= sum(crops[place].shape[1] for place in places):
                continue
            rest = [place for place in places if not readings[place].turned]
            again = self._lines([np.ascontiguousarray(crops[place][::-1, ::-1]) for place in rest])
            for place, one in zip(rest, again, strict=True):
                if one.text and one.conf > readings[place].conf - _RARE:
                    readings[place] = replace(one, turned=True)

    def _lines(self, crops: Sequence[Pixels]) -> list[Reading]:
        """Lines that are too long for one look are split where nothing is written."""
        parts: list[Pixels] = []
        joints: list[tuple[list[str], list[int]]] = []
        for one in crops:
            pieces, gaps = split(one, self._widest)
            parts += pieces
            joints.append((gaps, [piece.shape[1] for piece in pieces]))
        answers = iter(self._pieces(parts))
        return [_joined([next(answers) for _ in widths], gaps, widths) for gaps, widths in joints]

    def _pieces(self, crops: Sequence[Pixels]) -> list[Reading]:
        answers = [Reading("", 0.0)] * len(crops)
        step = self.network.input.multiple
        for batch in batches([one.shape[1] for one in crops]):
            widest = -(-max(crops[place].shape[1] for place in batch) // step) * step
            rows = np.full((len(batch), self.height, widest, 3), _GREY, np.uint8)
            for row, place in zip(rows, batch, strict=True):
                row[:, : crops[place].shape[1]] = crops[place]
            for place, answer in zip(batch, self.decoded(self.network.run(rows), widest), strict=True):
                answers[place] = answer
        return answers

    def decoded(self, probabilities: Floats, width: int) -> Iterator[Reading]:
        """(n, steps, classes) of lines of `width` pixels -> the most probable path of each, repetitions and
        blanks (class 0) left out (Graves et al. 2006, CTC, best path decoding); where a character of it is
        in doubt, and there is a language to ask, what is most probable together with that.
        """
        best = probabilities.argmax(2)
        certain = np.take_along_axis(probabilities, best[:, :, None], 2)[:, :, 0]
        new = np.diff(best, axis=1, prepend=0) != 0
        places = (np.arange(best.shape[1]) + 0.5) * width / max(best.shape[1], 1)
        for every, path, values, kept in zip(probabilities, best, certain, new & (best != 0), strict=True):
            classes, steps = path[kept], np.flatnonzero(kept)
            if self._language is not None and (values[kept] < SURE).any():
                found = np.array(self._language.path(every, self._letters), np.int64).reshape(-1, 2)
                if keeps_digits(self._said(classes), self._said(found[:, 0])):
                    classes, steps = found.T
            some = zip(
                self._characters[classes].tolist(),
                places[steps].tolist(),
                every[steps, classes].tolist(),
                strict=True,
            )
            yield Reading.of([Letter(*one) for one in some])

    def _said(self, classes: npt.NDArray[np.int64]) -> str:
        return "".join(self._characters[classes].tolist())


def split(line: Pixels, widest: int) -> tuple[list[Pixels], list[str]]:
    """The pieces of a line, none wider than `widest`, and what stands between them: a space or nothing."""
    height, width = line.shape[:2]
    count = -(-width // max(widest - round(_SEARCH * height), 1)) if width > widest else 1
    if count == 1:
        return [line], []
    contrast = line.max(2).max(0).astype(np.float32) - line.min(2).min(0)
    flat = contrast <= max(_FLAT, 0.25 * float(contrast.max()))
    reach = round(_SEARCH * height) // 2
    cuts, gaps = [0], []
    for place in range(1, count):
        wanted = width * place // count
        cut = wanted - reach + _quietest(flat[wanted - reach : wanted + reach], contrast, wanted - reach)
        left, right = cut, cut
        while left > 0 and flat[left - 1]:
            left -= 1
        while right < width and flat[right]:
            right += 1
        gaps.append(" " if right - left >= _SPACE * height else "")
        cuts.append(cut)
    cuts.append(width)
    return [line[:, start:end] for start, end in pairwise(cuts)], gaps


def _quietest(flat: npt.NDArray[np.bool_], contrast: Floats, start: int) -> int:
    """The middle of the longest run of empty columns, or the column of least contrast."""
    edges = np.flatnonzero(np.diff(flat.astype(np.int8), prepend=0, append=0))
    runs = edges.reshape(-1, 2)
    if not len(runs):
        return int(contrast[start : start + len(flat)].argmin())
    return int(runs[(runs[:, 1] - runs[:, 0]).argmax()].mean())


def _joined(readings: Sequence[Reading], gaps: Sequence[str], widths: Sequence[int]) -> Reading:
    """One line of pieces of these widths, with what stands between them."""
    if not gaps:
        return readings[0]
    text, letters, start = "", list[Letter](), 0
    for gap, one, width in zip(["", *gaps], readings, widths, strict=True):
        text += gap + direction.turned(one.text)
        letters += [Letter(gap, float(start), 1.0)] if gap else []
        letters += [replace(letter, place=letter.place + start) for letter in one.letters]
        start += width
    lengths = np.array([len(one.text) for one in readings], np.float64)
    if not lengths.sum():
        return Reading("", 0.0)
    conf = float(np.average([one.conf for one in readings], weights=lengths))
    return Reading(direction.turned(text.strip()), conf, letters=tuple(letters))
