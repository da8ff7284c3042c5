"""The two trainings of a reader, and what lies between them: thresholds, and texts as they are found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from plugins.contract import TrainingContext
from plugins.ocr import geometry
from plugins.ocr.augment import Policy
from plugins.ocr.bases import Detector, Recogniser
from plugins.ocr.predictor import Thresholds
from plugins.ocr.trainer import lines, stage
from plugins.ocr.trainer.beginning import Beginning
from plugins.ocr.trainer.detector import DetectorTraining, Patches, patch_size
from plugins.ocr.trainer.found import texts_in
from plugins.ocr.trainer.judging import FITTED_TO, Interrupted, Judge
from plugins.ocr.trainer.lines import Lines, Shape
from plugins.ocr.trainer.pages import Pages, Text
from plugins.ocr.trainer.recogniser import RecogniserTraining
from plugins.ocr.trainer.stage import Span
from plugins.ocr.trainer.turning import turn

# Thresholds are fitted to what was not learned from if that has so many texts, else to images of the training
# side, of which the maps are sharper than of any others.
_ENOUGH, _IMAGES = 200, 100
_FOUND_IN = 100  # images at most in which texts are looked for, to learn to read them as they are found
_FOUND_SHARE = 0.15  # of the recogniser's time that this may take
_SIDE, _BATCH = 544, 4  # of the patches that finding text is trained on
_DETECTOR_RATE, _RECOGNISER_RATE = 1e-4, 1e-4  # see benchmarks/ocr.md
_CALM = 0.5  # share of these rates when a model is gone on from: what holds already shall not be shaken
Found = dict[int, geometry.Quads]  # place of an image -> corners in pixels of the upright original

_UNBOUNDED = 10_000  # epochs, where the time ends the training
_DEFAULT = 5  # epochs where nothing ends it


@dataclass
class Stages:
    """One training: its data, its networks (which change in place), and what judges them."""

    context: TrainingContext
    side: Pages
    texts: list[Text]
    detector: Detector
    recogniser: Recogniser
    judge: Judge
    began: Beginning
    new_characters: bool = False  # rows of the recogniser's last layer that nothing has been learned for
    found: tuple[Pages, Found] | None = None  # where the trained detector was asked for texts to learn from

    def find(self) -> None:
        """Train the detector."""
        params = self.context.params
        scale_of, multiple = self.judge.sides.scale, self.detector.input.multiple
        size = patch_size(self.side, scale_of, params.input_side or _SIDE, multiple)
        self.context.fact("patch", f"{size[0]} x {size[1]}")
        work = DetectorTraining(
            self.context,
            self.detector,
            self.side,
            Patches(size, scale_of, Policy(), _BATCH, self.began.shrink),
            lambda model: self.judge.of_detector(model, self.recogniser),
            self._rate(_DETECTOR_RATE),
        )
        span = Span(self._epochs(params.detector_epochs), self.began.after_detector)
        stage.train(self.context, "detector", work, span)

    def thresholds(self) -> Thresholds:
        """Those that fit the detector to the marked boxes; after a stop those with which it was judged.
        Raises `Interrupted` where a stop left none.
        """
        try:
            return self.fitted(self.detector)
        except Interrupted:
            if self.judge.best is None:
                raise
            return self.judge.best[1]

    def fitted(self, detector: Detector) -> Thresholds:
        """The thresholds that fit a detector to boxes as people have drawn them. Raises `Interrupted`."""
        judge = self.judge
        if sum(len(example.regions) for example in judge.side.examples) < _ENOUGH:
            judge = Judge(self.context, self.side.telling(FITTED_TO, _IMAGES), judge.sides)
        return judge.thresholds(judge.maps(detector))

    def read(self, thresholds: Thresholds, scratch: Path) -> None:
        """Train the recogniser, on texts as they are marked and as the detector finds them. Raises
        `Interrupted` for a stop before that began.
        """
        params = self.context.params
        marked = self._lines(self.side, self.texts, scratch / "marked.bin")
        if marked.too_long:
            self.context.log(
                f"{len(marked.too_long)} texts are too long for their boxes and left out: "
                f"{marked.too_long[0][:40]!r} ..."
            )
        if not len(marked):
            self.context.log("No text can be cut out to learn to read; the recogniser stays as it is.")
            return
        sources = [marked, *self._found(thresholds, scratch, turned=bool(marked.turned.any()))]
        maps = self.judge.maps(self.detector)
        work = RecogniserTraining(
            self.context,
            self.recogniser,
            sources,
            lambda model: self.judge.of_recogniser(maps, model, thresholds),
            self._rate(_RECOGNISER_RATE),
        )
        epochs, frozen = self._epochs(params.recogniser_epochs), self.new_characters
        span = Span(epochs, self.began.after_recogniser, frozen=frozen and not self.began.parent)
        stage.train(self.context, "recogniser", work, span)

    def _found(self, thresholds: Thresholds, scratch: Path, *, turned: bool) -> list[Lines]:
        """Texts as they are found; where no marked one is `turned`, none is read both ways."""
        count = self.found_in()
        if not count:
            return []
        some = Judge(self.context, self.side.some(count), self.judge.sides)
        examples = some.side.examples
        boxes = some.boxes(self.detector, thresholds)
        self.found = some.side, dict(boxes)
        texts = [text for place, quads in boxes for text in texts_in(place, examples[place], quads)]
        self.context.fact("found_texts", len(texts))
        found = self._lines(some.side, texts, scratch / "found.bin", turning=turned)
        return [found] if len(found) else []

    def found_in(self) -> int:
        """In how many images there is time to look for texts."""
        left = self.context.time_left() - self.began.after_recogniser
        if not math.isfinite(left):
            return _FOUND_IN
        return min(_FOUND_IN, int(_FOUND_SHARE * max(left, 0.0) / max(self.began.page_seconds, 1e-3)))

    def _lines(self, side: Pages, texts: list[Text], path: Path, *, turning: bool = True) -> Lines:
        shape = Shape(self.recogniser.height, self.recogniser.stride)
        made = lines.cut(side, texts, path, shape, self.context.should_stop)
        turned = turn(self.context, self.recogniser, made) if turning and len(made) else 0
        if turned:
            self.context.log(f"{turned} of {len(made)} texts are read upside down in their boxes.")
        return made

    def _rate(self, usual: float) -> float:
        chosen: float | None = self.context.params.learning_rate
        return chosen or usual * (_CALM if self.began.parent else 1.0)

    def _epochs(self, chosen: int | None) -> int:
        if chosen is not None:
            return chosen
        return _DEFAULT if self.began.after_recogniser <= 0 else _UNBOUNDED
