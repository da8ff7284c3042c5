"""Finds and reads text: a detector and a recogniser on ONNX Runtime, NumPy and OpenCV; no framework.

An image is looked at in the size that `detection.Sides` says, in overlapping parts if it is large. What is
found is cut out along its own direction, read in batches of like width (no line is squeezed; those too long
for one look are split at a gap), in doubt by how the labels' texts run (see `language`), read upside down as
well where that is in doubt, divided where it is several texts (see `breaks`), and answered in reading order
(see `order`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from plugins.contract import DecodedImage, Output, PluginError, Prediction, Region
from plugins.ocr import geometry
from plugins.ocr.direction import lean
from plugins.ocr.predictor import detection
from plugins.ocr.predictor.breaks import Breaks, Line, open_breaks
from plugins.ocr.predictor.detection import Map, Sides, Thresholds
from plugins.ocr.predictor.language import Language, open_language
from plugins.ocr.predictor.lines import Reader, Reading, along_the_line, crop, widened
from plugins.ocr.predictor.network import Floats, Network, Pixels, open_network
from plugins.ocr.predictor.order import reading_order

__all__ = ["Map", "OcrPredictor", "Pixels", "Sides", "Thresholds", "open_predictor"]

_CROPS = 512  # cut out and read at a time, so that memory does not grow with the number of texts

_DOUBT = 0.9  # confidence below which a drawn region is looked at a second time
_LEAST_SIDE = 8  # pixels; in less there is nothing to find


class OcrPredictor:
    """Maps images to texts; thread-safe, as ONNX Runtime sessions are."""

    def __init__(
        self,
        detector: Network,
        reader: Reader,
        sides: Sides,
        thresholds: Thresholds,
        *,
        margin: float,
        least_confidence: float,
        breaks: Breaks | None = None,
    ) -> None:
        self._detector, self._reader = detector, reader
        self.sides, self.thresholds = sides, thresholds
        self.margin, self.least_confidence, self.breaks = margin, least_confidence, breaks

    @property
    def wanted_side(self) -> None:
        """None: text is small, so images are wanted as they are."""
        return

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        """The texts of each image in reading order. Raises `PluginError`."""
        return [Prediction(tuple(self._texts(pixels(image)))) for image in images]

    def _texts(self, image: Pixels) -> list[Output]:
        quads, _ = self.detect(image)
        return self.read_found(image, quads)

    def detect(self, image: Pixels) -> tuple[detection.Quads, Floats]:
        """Corners (n, 4, 2) of the texts in pixels, and how probable each is (n)."""
        return detection.quadrilaterals(self.map(image), self.thresholds)

    def map(self, image: Pixels) -> Map:
        """What the detector answers for an image (height, width, 3; blue, green, red)."""
        return detection.probabilities(image, self._detector, self.sides)

    def read(self, image: DecodedImage, regions: Sequence[Region]) -> list[Output]:
        """See `plugins.contract.Reader`: the text of each region as somebody has drawn it. Where that is in
        doubt, because the region is drawn wide or holds several lines, texts are looked for in it as well.
        """
        shown = pixels(image)
        scale = np.float32(image.image.width / image.width)
        drawn = geometry.quads(regions) * scale
        return [
            self._better(shown, corners, output) if output.conf < _DOUBT else output
            for corners, output in zip(drawn, self.read_boxes(shown, drawn), strict=True)
        ]

    def read_boxes(self, image: Pixels, quads: detection.Quads, *, margin: float = 0.0) -> list[Output]:
        """What stands in each of these boxes (n, 4, 2; pixels, corners in any reading direction), in their
        order, however uncertain; an empty text where nothing is read. The corners of an answer begin where
        its reading does. `margin`, times the height, is how far beyond both ends of a box the text is looked
        for.
        """
        return [
            _output(image, line.corners, line.reading) for line in self.lines(image, quads, margin=margin)
        ]

    def lines(self, image: Pixels, quads: detection.Quads, *, margin: float) -> Iterator[Line]:
        """These boxes as they are read; see `read_boxes`."""
        for start in range(0, len(quads), _CROPS):
            some = [along_the_line(one) for one in np.asarray(quads[start : start + _CROPS], np.float32)]
            around = [widened(one, margin) for one in some]
            crops = [crop(image, one, self._reader.height) for one in around]
            downwards = [abs(one[1, 0] - one[0, 0]) < abs(one[1, 1] - one[0, 1]) for one in some]
            for place, reading in enumerate(self._reader.read(crops, downwards)):
                line = Line(some[place], around[place], crops[place], reading)
                yield _turned(line) if reading.turned else line

    def read_found(self, image: Pixels, quads: detection.Quads) -> list[Output]:
        """The texts in the boxes (n, 4, 2; pixels) that were found in an image, in reading order: a line that
        is several texts is divided, and what is read with too little confidence is left out.
        """
        texts: list[tuple[detection.Quads, Reading]] = []
        for line in self.lines(image, quads, margin=self.margin):
            texts += self.breaks.divide(line) if self.breaks else [(line.corners, line.reading)]
        order = reading_order(
            np.array([corners for corners, _ in texts], np.float32).reshape(-1, 4, 2),
            [lean(reading.text) for _, reading in texts],
        )
        outputs = [_output(image, *texts[place]) for place in order]
        return [one for one in outputs if one.label and one.conf >= self.least_confidence]

    def _better(self, image: Pixels, drawn: detection.Quads, as_drawn: Output) -> Output:
        """The texts that are found inside of what was drawn, where they are read more surely than it is."""
        size = np.array(image.shape[1::-1])
        low = np.floor(drawn.min(0)).astype(int).clip(0, size)
        high = np.ceil(drawn.max(0)).astype(int).clip(0, size)
        part = np.ascontiguousarray(image[low[1] : high[1], low[0] : high[0]])
        if min(part.shape[:2]) < _LEAST_SIDE:
            return as_drawn
        found, _ = self.detect(part)
        middles = found.mean(1) + low if len(found) else np.zeros((0, 2))
        inside = [cv2.pointPolygonTest(drawn, (float(x), float(y)), False) >= 0 for x, y in middles]
        quads = found[np.array(inside, bool)]
        outputs = self.read_boxes(part, quads, margin=self.margin)
        order = reading_order(quads, [lean(one.label) for one in outputs])
        texts = [outputs[place] for place in order]
        texts = [one for one in texts if one.label and one.conf >= self.least_confidence]
        if not texts:
            return as_drawn
        lengths = [len(one.label) for one in texts]
        conf = float(np.average([one.conf for one in texts], weights=lengths))
        text = " ".join(one.label for one in texts)
        return Output(text, conf, as_drawn.pos) if conf > as_drawn.conf else as_drawn


def _turned(line: Line) -> Line:
    """A line whose reading begins at the other end."""
    corners, around = (np.roll(one, -2, axis=0) for one in (line.corners, line.around))
    return Line(corners, around, np.ascontiguousarray(line.pixels[::-1, ::-1]), line.reading)


def _output(image: Pixels, corners: detection.Quads, reading: Reading) -> Output:
    height, width = image.shape[:2]
    fractions = (corners / np.array([width, height], np.float32)).clip(0, 1).tolist()
    return Output(reading.text, reading.conf, tuple((float(x), float(y)) for x, y in fractions))


def pixels(image: DecodedImage) -> Pixels:
    """A decoded image as blue, green and red (height, width, 3)."""
    return np.asarray(cv2.cvtColor(np.asarray(image.image), cv2.COLOR_RGB2BGR), np.uint8)


def open_predictor(folder: Path, model: Mapping[str, Any], *, threads: int) -> OcrPredictor:
    """Open the model of a bundle or draft; see `plugins.contract.OpenPredictor`. Raises `PluginError`."""
    try:
        detector, recogniser = (
            open_network(folder, model[name], threads=threads) for name in ("detector", "recogniser")
        )
        return assembled(
            model, detector, recogniser, open_breaks(folder, model), open_language(folder, model)
        )
    except Exception as error:  # a damaged bundle: missing keys, other types, what ONNX Runtime raises
        raise PluginError("model_unreadable", f"the model cannot be opened: {error}") from error


def assembled(
    model: Mapping[str, Any],
    detector: Network,
    recogniser: Network,
    breaks: Breaks | None = None,
    language: Language | None = None,
) -> OcrPredictor:
    """The predictor of these networks with the thresholds and sides of a model; raises whatever damaged
    values make their readers raise.
    """
    finding, reading, characters = model["detector"], model["recogniser"], model["vocabulary"]
    if recogniser.classes != len(characters) + 1:
        raise ValueError(f"{recogniser.classes} classes for {len(characters)} characters")
    reader = Reader(
        recogniser,
        characters,
        widest=int(reading["widest"]),
        turn_below=float(reading["turn_below"]),
        language=language,
    )
    return OcrPredictor(
        detector,
        reader,
        detection.sides_of(finding),
        detection.thresholds_of(finding),
        margin=float(reading["margin"]),
        least_confidence=float(reading["least_confidence"]),
        breaks=breaks,
    )
