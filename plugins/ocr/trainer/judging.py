"""How good networks are, end to end: whole images through the pipeline that will serve them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from plugins.contract import Example, Prediction, TrainingContext
from plugins.fitting import Score
from plugins.images import ImageError
from plugins.ocr import exporter, geometry
from plugins.ocr.augment import Pixels
from plugins.ocr.bases import Detector, Recogniser
from plugins.ocr.evaluate import HEADLINE, evaluate
from plugins.ocr.predictor import OcrPredictor, Sides, Thresholds
from plugins.ocr.predictor.breaks import Breaks
from plugins.ocr.predictor.detection import Map, probabilities, quadrilaterals
from plugins.ocr.predictor.language import Language
from plugins.ocr.predictor.lines import Reader
from plugins.ocr.predictor.network import Network
from plugins.ocr.predictor.thresholds import FittedThresholds, fit_thresholds
from plugins.ocr.trainer.kernels import shrink_ratio
from plugins.ocr.trainer.pages import Pages

_REPORTED = (
    HEADLINE,
    "end_to_end_f1_strict",
    "detection_f1",
    "exact_match",
    "exact_match_loose",
    "character_error_rate",
)
NOT_JUDGED = Score(-1e6)  # finite, and below all others: what a stop came in between of is never the best
FITTED_TO = 400  # texts that thresholds are fitted to; more change them little


_HELD = 512 * 1024**2  # bytes of decoded images that a judge keeps; the others are decoded each time


@dataclass(frozen=True)
class Picture:
    """An image to judge by: its place in the side, the size in which it is decoded as a share of the
    original, and its pixels (height, width, 3) where these are held.
    """

    place: int
    example: Example
    share: float
    pixels: Pixels | None = field(repr=False)


@dataclass(frozen=True)
class Extras:
    """What is learned of the labels beside the networks."""

    language: Language | None = None
    breaks: Breaks | None = None


class Interrupted(Exception):
    """The user asked to stop and keep the best while networks were looked at."""


@dataclass
class Judge:
    """Judges networks on the images of one side, which it keeps decoded as far as `_HELD` goes. Before each
    image it asks whether to stop, as one can take a second.
    """

    context: TrainingContext
    side: Pages
    sides: Sides = field(default_factory=Sides)
    best: tuple[float, Thresholds] | None = None  # of the detectors judged so far, with those fitted to it
    _seen: tuple[str, list[Map]] | None = field(default=None, repr=False)  # the last graph's digest, its maps

    @cached_property
    def pictures(self) -> list[Picture]:
        """Those of the examples that can be read."""
        found, held = [], 0
        for place, example in enumerate(self.side.examples):
            self._go_on()
            try:
                pixels, share = self.side.pixels(place)
            except ImageError:  # counts as not there, as it does in the evaluation
                continue
            held += pixels.nbytes
            found.append(Picture(place, example, share, pixels if held <= _HELD else None))
        return found

    def _pixels(self, picture: Picture) -> Pixels:
        return self.side.pixels(picture.place)[0] if picture.pixels is None else picture.pixels

    def maps(self, detector: Detector) -> list[Map]:
        """What the detector answers for each image, kept while it is the same one. Raises `Interrupted`."""
        graph = _graph(detector)
        digest = hashlib.sha256(graph).hexdigest()
        if self._seen is None or self._seen[0] != digest:
            network, found = self._network(detector, graph), []
            for picture in self.pictures:
                self._go_on()
                found.append(probabilities(self._pixels(picture), network, self.sides))
            self._seen = digest, found
        return self._seen[1]

    def thresholds(self, maps: Sequence[Map]) -> Thresholds:
        """Those that fit the marked regions best; the usual ones where nothing is marked."""
        return self.fit(maps).thresholds

    def fit(self, maps: Sequence[Map]) -> FittedThresholds:
        """The same with the detection F1 that they reach on these maps."""
        some = list(zip(self.pictures, maps, strict=True))
        marked = [_marked(one, ignored=False) for one, _ in some]
        before = np.cumsum([0, *map(len, marked)])[:-1]  # texts of the images before each
        count = int((before < FITTED_TO).sum())
        some, marked = some[:count], marked[:count]
        hidden = [_marked(one, ignored=True) for one, _ in some]
        if not any(len(one) for one in marked):
            return FittedThresholds(Thresholds(), 0.0, 0.0)
        return fit_thresholds([one for _, one in some], marked, hidden)

    def shrink_ratio(self, maps: Sequence[Map], thresholds: Thresholds) -> float:
        """See `plugins.ocr.trainer.kernels`."""
        marked = [_marked(one, ignored=False) for one in self.pictures]
        return shrink_ratio(maps, marked, thresholds)

    def metrics(
        self,
        maps: Sequence[Map],
        recogniser: Recogniser,
        thresholds: Thresholds,
    ) -> Mapping[str, float]:
        """The metrics of `plugins.ocr.evaluate` for these maps and that recogniser. Raises `Interrupted`."""
        return self.measured(self.answers(maps, recogniser, thresholds))

    def measured(self, answers: Sequence[Prediction]) -> Mapping[str, float]:
        """The metrics of `plugins.ocr.evaluate` for these answers, one a picture."""
        return evaluate([picture.example for picture in self.pictures], answers).metrics

    def answers(
        self,
        maps: Sequence[Map],
        recogniser: Recogniser,
        thresholds: Thresholds,
        extras: Extras | None = None,
    ) -> list[Prediction]:
        """What is answered to each picture. Raises `Interrupted`."""
        predictor = self.predictor(None, recogniser, thresholds, extras)
        answers = []
        for picture, one in zip(self.pictures, maps, strict=True):
            self._go_on()
            quads, _ = quadrilaterals(one, thresholds)
            answers.append(Prediction(tuple(predictor.read_found(self._pixels(picture), quads))))
        return answers

    def of_detector(self, detector: Detector, recogniser: Recogniser) -> Score:
        """The score of a detector whose texts that recogniser reads, with thresholds fitted to it."""
        try:
            maps = self.maps(detector)
            fitted = self.thresholds(maps)
            found = score(self.metrics(maps, recogniser, fitted))
        except Interrupted:
            return NOT_JUDGED
        if self.best is None or found.value > self.best[0]:
            self.best = found.value, fitted
        return found

    def of_recogniser(self, maps: Sequence[Map], recogniser: Recogniser, thresholds: Thresholds) -> Score:
        """The score of a recogniser that reads what is found in these maps."""
        try:
            return score(self.metrics(maps, recogniser, thresholds))
        except Interrupted:
            return NOT_JUDGED

    def boxes(self, detector: Detector, thresholds: Thresholds) -> list[tuple[int, geometry.Quads]]:
        """Place of each image in the side and the corners found there, in pixels of the upright original;
        those not reached before a stop are left out.
        """
        network, found = self._network(detector), []
        for place in range(len(self.side)):
            if self.context.should_stop():
                break
            try:
                pixels, share = self.side.pixels(place)
            except ImageError:
                continue
            quads, _ = quadrilaterals(probabilities(pixels, network, self.sides), thresholds)
            found.append((place, np.asarray(quads / np.float32(share), np.float32)))
        return found

    def _go_on(self) -> None:
        if self.context.stop_requested():
            raise Interrupted

    def _network(self, network: Detector | Recogniser, graph: bytes | None = None) -> Network:
        content = graph or _graph(network)
        return Network(content, network.input.to_json(), threads=max(1, self.context.threads))

    def predictor(
        self,
        detector: Detector | None,
        recogniser: Recogniser,
        thresholds: Thresholds,
        extras: Extras | None = None,
    ) -> OcrPredictor:
        """These networks as they will serve; without a detector it only reads."""
        network, extras = self._network(recogniser), extras or Extras()
        reader = Reader(
            network,
            recogniser.characters,
            widest=exporter.WIDEST,
            turn_below=exporter.TURN_BELOW,
            language=extras.language,
        )
        return OcrPredictor(
            self._network(detector) if detector else network,
            reader,
            self.sides,
            thresholds,
            margin=exporter.MARGIN,
            least_confidence=exporter.LEAST_CONFIDENCE,
            breaks=extras.breaks,
        )


def _graph(network: Detector | Recogniser) -> bytes:
    """The ONNX file of a network as it is now."""
    training = network.training
    network.eval()
    content: bytes = exporter.graph(network).SerializeToString()
    network.train(training)
    return content


def score(metrics: Mapping[str, float]) -> Score:
    """How metrics rank: by the mean of F1 end to end with and without regard to case and spaces, as readers
    that only write these differently are not the same, but nearly. Finding text and reading it decide between
    networks that are equal in this.
    """
    both = 0.5 * (metrics[HEADLINE] + metrics["end_to_end_f1_strict"])
    value = both + 1e-3 * (metrics["detection_f1"] - metrics["character_error_rate"])
    return Score(value, {f"validation_{name}": metrics[name] for name in _REPORTED})


def _marked(picture: Picture, *, ignored: bool) -> geometry.Quads:
    """Corners of the regions in pixels of the decoded image; what has no text is no less marked."""
    regions = [one for one in picture.example.regions if one.ignored == ignored]
    return geometry.quads(regions) * np.float32(picture.share)
