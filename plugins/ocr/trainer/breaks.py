"""Learning where a line that is found is several texts to those who label (`plugins.ocr.predictor.breaks`).

Gradient boosting (scikit-learn's) on the gaps of lines found in training images. It is kept where texts of
images that it has not learned from are found better by it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.ensemble import GradientBoostingClassifier

from plugins.contract import Example
from plugins.images import ImageError
from plugins.ocr import geometry
from plugins.ocr.matching import located
from plugins.ocr.predictor import OcrPredictor
from plugins.ocr.predictor.breaks import DIVIDED, WIDTHS, Gaps, Line, gaps, pieces
from plugins.ocr.predictor.detection import quadrilaterals
from plugins.ocr.trainer.pages import Pages
from plugins.ocr.trainer.trees import graph

MOST_PAGES, _MOST_GAPS = 100, 10_000  # that are looked at; more take longer and change little
GAIN = 0.002  # of detection F1 on images not learned from, below which lines stay as they are found
_TREES, _DEPTH, _RATE, _SHARE, _LEAF = 100, 4, 0.06, 0.7, 5  # see benchmarks/ocr.md
_FOLDS = 4
_FEWEST = 20  # gaps between two texts
_BESIDE = 1 / 12  # of the height: how far beside a gap a text has to be marked to be its neighbour

Classes = npt.NDArray[np.int64]
_ONE, _SEVERAL, _UNKNOWN = 0, 1, -1


@dataclass
class Seen:
    """Found lines of one image with their gaps, `classes` (n) of each line's gaps, and `marked` corners."""

    marked: geometry.Quads
    lines: list[tuple[Line, Gaps, Classes]] = field(default_factory=list)


@dataclass(frozen=True)
class Learned:
    """The judge of gaps as ONNX, and detection F1 on images not learned from, without one and with."""

    graph: bytes
    before: float
    after: float


def look(
    side: Pages,
    predictor: OcrPredictor,
    found: dict[int, geometry.Quads],
    seconds: float,
    stop: Callable[[], bool],
) -> list[Seen]:
    """The lines in images of a side, as they are found and read; `found` are corners that are known, by the
    image's place, in pixels of the upright original. Ends after so many seconds, when there are enough gaps,
    or when `stop()` says so.
    """
    seen: list[Seen] = []
    count = 0
    started = time.monotonic()
    for place in sorted(range(len(side)), key=lambda place: place not in found):
        if stop() or time.monotonic() - started > seconds or count >= _MOST_GAPS:
            break
        example = side.examples[place]
        try:
            pixels, share = side.pixels(place)
        except ImageError:
            continue
        scale = np.float32(share)
        quads = (
            found[place] * scale
            if place in found
            else quadrilaterals(predictor.map(pixels), predictor.thresholds)[0]
        )
        seen.append(_seen(example, scale, predictor.lines(pixels, quads, margin=predictor.margin)))
        count += sum(len(spans) for _, spans, _ in seen[-1].lines)
    return seen


def _seen(example: Example, scale: np.float32, lines: Iterable[Line]) -> Seen:
    """Ignored regions count here: what is hardly legible is no less a text of its own."""
    one = Seen(geometry.quads(example.regions) * scale)
    low, high = one.marked.min(1), one.marked.max(1)
    for line in lines:
        spans = gaps(line)
        near = ((low <= line.around.max(0)) & (high >= line.around.min(0))).all(1)
        classes = _classes(line, spans, one.marked[near])
        # Of its pixels only the size is needed from here on: those of all pages would fill the memory.
        bare = replace(line, pixels=np.broadcast_to(np.uint8(0), line.pixels.shape))
        one.lines.append((bare, spans, classes))
    return one


def _classes(line: Line, spans: Gaps, marked: geometry.Quads) -> Classes:
    """Of each gap: whether one marked text goes on over it, or different ones end and begin there."""
    height, width = line.pixels.shape[:2]
    answer = np.full(len(spans), _UNKNOWN, np.int64)
    for place, (start, end) in enumerate(spans.spans.tolist()):
        left, right = (
            _at(line, column / width, marked) for column in (start - _BESIDE * height, end + _BESIDE * height)
        )
        if left and right:
            answer[place] = _ONE if left & right else _SEVERAL
    return answer


def _at(line: Line, share: float, marked: geometry.Quads) -> set[int]:
    """The marked texts in the middle of a line at this share of the way along it."""
    first, second, third, fourth = line.around.astype(np.float64)
    x, y = ((first + fourth) * (1 - share) + (second + third) * share) / 2
    return {
        place
        for place, corners in enumerate(marked)
        if cv2.pointPolygonTest(corners, (float(x), float(y)), False) >= 0
    }


def learn(seen: Sequence[Seen], seed: int) -> Learned | None:
    """A judge of gaps from these images; None where there is too little to learn from, or nothing to gain."""
    if (_known(seen)[1] == _SEVERAL).sum() < _FEWEST or len(seen) < _FOLDS:
        return None
    before, after = Counts(), Counts()
    for fold in range(_FOLDS):
        inside = [one for place, one in enumerate(seen) if place % _FOLDS != fold]
        outside = [one for place, one in enumerate(seen) if place % _FOLDS == fold]
        judge = _judge(inside, seed)
        if judge is None:
            return None
        for one in outside:
            before.add(one, None)
            after.add(one, judge)
    judge = _judge(seen, seed)
    if judge is None or after.f1 - before.f1 < GAIN:
        return None
    return Learned(graph(judge), before.f1, after.f1)


def _judge(seen: Sequence[Seen], seed: int) -> GradientBoostingClassifier | None:
    """None where no gap lies between two texts."""
    values, classes = _known(seen)
    if not (classes == _SEVERAL).any():
        return None
    if (classes == _ONE).sum() < _FEWEST:  # every word is a text of its own: what divides them is some width
        narrow = values.copy()
        narrow[:, :WIDTHS] -= narrow[:, :1]
        values, classes = np.concatenate([values, narrow]), np.append(classes, np.full(len(narrow), _ONE))
    return GradientBoostingClassifier(
        n_estimators=_TREES,
        max_depth=_DEPTH,
        learning_rate=_RATE,
        subsample=_SHARE,
        max_features=0.5,
        min_samples_leaf=_LEAF,
        random_state=seed,
    ).fit(values, classes)


def _known(seen: Sequence[Seen]) -> tuple[npt.NDArray[np.float32], Classes]:
    """All gaps of which the labels say what they are."""
    every = [(spans.values, classes) for one in seen for _, spans, classes in one.lines if len(spans)]
    if not every:
        return np.zeros((0, 1), np.float32), np.zeros(0, np.int64)
    values, classes = (np.concatenate(some) for some in zip(*every, strict=True))
    known = classes != _UNKNOWN
    return values[known], classes[known]


@dataclass
class Counts:
    """Texts found where one is marked, texts found, and texts marked."""

    right: int = 0
    found: int = 0
    marked: int = 0

    @property
    def f1(self) -> float:
        """Detection F1 (IoU 0.5)."""
        return 2 * self.right / max(self.found + self.marked, 1)

    def add(self, one: Seen, judge: GradientBoostingClassifier | None) -> None:
        """Those of an image, its lines divided as the judge says."""
        texts: list[geometry.Quads] = []
        for line, spans, _ in one.lines:
            divided = np.zeros(len(spans), np.bool_)
            if judge is not None and len(spans):
                divided = judge.predict_proba(spans.values)[:, 1] > DIVIDED
            texts += [corners for corners, _ in pieces(line, spans.spans[divided])]
        found = np.array(texts, np.float32).reshape(-1, 4, 2)
        self.right += len(located(one.marked, found))
        self.found += len(found)
        self.marked += len(one.marked)
