"""The two trainings of a reader, and what lies between them: thresholds, and texts as they are found."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from plugins import fitting
from plugins.contract import TrainingContext
from plugins.fitting import Score
from plugins.ocr import geometry
from plugins.ocr.augment import Policy
from plugins.ocr.bases import Detector, Recogniser
from plugins.ocr.predictor import Thresholds
from plugins.ocr.predictor.detection import Map
from plugins.ocr.trainer import lines, stage
from plugins.ocr.trainer.beginning import Beginning
from plugins.ocr.trainer.detector import DetectorTraining, Patches, patch_size
from plugins.ocr.trainer.found import texts_in
from plugins.ocr.trainer.judging import FITTED_TO, NOT_JUDGED, Interrupted, Judge
from plugins.ocr.trainer.lines import Lines, Shape
from plugins.ocr.trainer.pages import Pages, Text, in_the_time
from plugins.ocr.trainer.recogniser import RecogniserTraining
from plugins.ocr.trainer.stage import Span
from plugins.ocr.trainer.turning import turn

# Thresholds are fitted to what was not learned from if that has so many texts, else to images of the training
# side, of which the maps are sharper than of any others.
_ENOUGH, _IMAGES = 200, 100
_FOUND_IN = 100  # images at most in which texts are looked for, to learn to read them as they are found
_FOUND_SHARE = 0.15  # of the recogniser's time that this may take
_CUT_SHARE = 0.3  # of what is left of it that looking for texts and cutting them out may take
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
        """Train the detector, or take what an earlier attempt came to."""
        if self._taken_over("detector", self.detector):
            return
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

    def may_go_on(self, name: str) -> bool:
        """Whether there is time for this training, or an earlier attempt has come to something in it."""
        return not self.context.should_stop() or stage.begun(self.context, name)

    def _taken_over(self, name: str, network: Detector | Recogniser) -> bool:
        """What was fitted is not thrown away because the time is over: the worker was lost afterwards."""
        before = stage.fitted_before(self.context, name)
        if before is not None:
            network.load_state_dict(before.best)
            self.context.fact(f"{name}_epochs", round(before.epochs, 2))
        return before is not None

    def thresholds(self) -> Thresholds:
        """Those that fit the detector to the marked boxes, or what an earlier attempt has found these to be;
        after a stop those with which it was judged, or was begun with by the attempt that trained it. Raises
        `Interrupted` where a stop came before it was trained.
        """
        path = self.context.folder / "thresholds.safetensors"
        if path.is_file():
            return Thresholds(**fitting.read_checkpoint(path)[1])
        try:
            found = self.fitted(self.detector)
        except Interrupted:
            if self.judge.best is not None:
                return self.judge.best[1]
            if stage.begun(self.context, "detector"):
                return self.began.thresholds
            raise
        self.context.checkpoint()
        fitting.write_checkpoint(path, {}, found.to_json())
        return found

    def fitted(self, detector: Detector) -> Thresholds:
        """The thresholds that fit a detector to boxes as people have drawn them. Raises `Interrupted`."""
        judge = self.judge
        if sum(len(example.regions) for example in judge.side.examples) < _ENOUGH:
            count = in_the_time(_IMAGES, judge.sides)
            judge = Judge(self.context, self.side.telling(FITTED_TO, count), judge.sides)
        return judge.thresholds(judge.maps(detector))

    def read(self, thresholds: Thresholds) -> None:
        """Train the recogniser, on texts as they are marked and as the detector finds them, or take what an
        earlier attempt came to.
        """
        if self._taken_over("recogniser", self.recogniser):
            return
        params, scratch = self.context.params, self.context.folder / "lines"
        scratch.mkdir(exist_ok=True)
        marked = self._lines(scratch / "marked.bin", lambda: (self.side, self.texts))
        if marked is None:
            return
        if marked.too_long:
            self.context.log(
                f"{len(marked.too_long)} texts are too long for their boxes and left out: "
                f"{marked.too_long[0][:40]!r} ..."
            )
        if not len(marked):
            self.context.log("No text was cut out to learn to read; the recogniser stays as it is.")
            return
        found = self._lines(
            scratch / "found.bin", lambda: self._found(thresholds), turning=bool(marked.turned.any())
        )
        if found is None:
            return
        work = RecogniserTraining(
            self.context,
            self.recogniser,
            [marked, found] if len(found) else [marked],
            self._score_of(thresholds),
            self._rate(_RECOGNISER_RATE),
        )
        epochs, frozen = self._epochs(params.recogniser_epochs), self.new_characters
        span = Span(epochs, self.began.after_recogniser, frozen=frozen and not self.began.parent)
        stage.train(self.context, "recogniser", work, span)
        shutil.rmtree(scratch, ignore_errors=True)

    def _found(self, thresholds: Thresholds) -> tuple[Pages, list[Text]]:
        """Texts as they are found, and the images that were looked at."""
        count = self.found_in()
        if not count:
            return self.side, []
        some = Judge(self.context, self.side.some(count), self.judge.sides)
        examples = some.side.examples
        boxes = some.boxes(self.detector, thresholds)
        self.found = some.side, dict(boxes)
        texts = [text for place, quads in boxes for text in texts_in(place, examples[place], quads)]
        self.context.fact("found_texts", len(texts))
        return some.side, texts

    def _score_of(self, thresholds: Thresholds) -> Callable[[Recogniser], Score]:
        """What judges a recogniser; only the process that judges looks for the texts."""
        maps: list[Map] = []

        def score(model: Recogniser) -> Score:
            try:
                maps[:] = maps or self.judge.maps(self.detector)
            except Interrupted:
                return NOT_JUDGED
            return self.judge.of_recogniser(maps, model, thresholds)

        return score

    def found_in(self) -> int:
        """In how many images there is time to look for texts."""
        left = self.context.time_left() - self.began.after_recogniser
        if not math.isfinite(left):
            return _FOUND_IN
        return min(_FOUND_IN, int(_FOUND_SHARE * max(left, 0.0) / max(self.began.page_seconds, 1e-3)))

    def _lines(
        self, path: Path, texts: Callable[[], tuple[Pages, list[Text]]], *, turning: bool = True
    ) -> Lines | None:
        """The texts cut out into this file; what an earlier attempt or the first process has cut out is taken
        as it is. `turning` finds out which are upside down. None where a stop came before: a part of them
        must not be trained on, since other processes would have another part.
        """
        shape = Shape(self.recogniser.height, self.recogniser.stride)
        made = lines.kept(path, shape)
        if made is not None:
            return made
        left = self.context.time_left()
        least = self.began.after_recogniser + (1 - _CUT_SHARE) * (left - self.began.after_recogniser)

        def stop() -> bool:
            return self.context.should_stop() or self.context.time_left() < least

        made = lines.cut(*texts(), path, shape, stop)
        turned = turn(self.context, self.recogniser, made) if turning and len(made) else 0
        if turned:
            self.context.log(f"{turned} of {len(made)} texts are read upside down in their boxes.")
        if self.context.should_stop():
            return None
        lines.keep(made)
        return made

    def _rate(self, usual: float) -> float:
        chosen: float | None = self.context.params.learning_rate
        return chosen or usual * (_CALM if self.began.parent else 1.0)

    def _epochs(self, chosen: int | None) -> int:
        if chosen is not None:
            return chosen
        return _DEFAULT if self.began.after_recogniser <= 0 else _UNBOUNDED
