"""A plugin that reads: its model finds one line in each half of an image, and says the colour of its middle.

While the file `model["hold"]` exists, opening the model does not end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins.contract import (
    Algorithm,
    DecodedImage,
    Output,
    Plugin,
    PluginError,
    Prediction,
    Region,
)


@dataclass(frozen=True)
class NoParams:
    pass


PLUGIN = Plugin(
    name="reading",
    title="Reading",
    dataset_type="reading",
    label_form="regions",
    algorithms=(Algorithm("reading", "Reading", "For tests.", NoParams),),
    headline="f1",
    trainer="tests.ml_backend.reading_plugin:none",
    predictor="tests.ml_backend.reading_plugin:open_predictor",
    evaluator="tests.ml_backend.reading_plugin:none",
    illustrator="tests.ml_backend.reading_plugin:none",
    labeling="plugins.ocr.labeling",
)
_NAMES = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue"}
ODD = 66  # pixels of width that the model refuses


class ReadingPredictor:
    wanted_side: int | None = None

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        if any(image.width == ODD for image in images):
            raise PluginError("odd", "the model does not like this image")
        return [Prediction((self._line(image, 0.0), self._line(image, 0.5))) for image in images]

    def read(self, image: DecodedImage, regions: Sequence[Region]) -> list[Output]:
        return [self._read(image, region) for region in regions]

    def _line(self, image: DecodedImage, top: float) -> Output:
        name = self._colour(image, image.width / 2, (top + 0.25) * image.height)
        return Output(name, 0.5 + top / 2, ((0.1, top), (0.9, top), (0.9, top + 0.4), (0.1, top + 0.4)))

    def _read(self, image: DecodedImage, region: Region) -> Output:
        x = sum(x for x, _ in region.points) / len(region.points)
        y = sum(y for _, y in region.points) / len(region.points)
        name = self._colour(image, x, y)
        return Output(name, 0.8 if name else 0.0)

    @staticmethod
    def _colour(image: DecodedImage, x: float, y: float) -> str:
        place = int(x * image.image.width / image.width), int(y * image.image.height / image.height)
        return _NAMES.get(image.image.getpixel(place), "")


def open_predictor(folder: Path, model: Mapping[str, Any], *, threads: int) -> ReadingPredictor:
    while Path(model["hold"]).exists():
        time.sleep(0.02)
    if model.get("broken"):
        raise PluginError("broken", "this model was made wrongly")
    return ReadingPredictor()


def none() -> None:
    raise NotImplementedError
