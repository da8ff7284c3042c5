"""The sheet of the worst mistakes; a glyph that no font has would be a warning, which fails a test."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from plugins.classification.lettering import Lettering
from plugins.classification.mistakes import FILE, Mistake, draw, illustrate_mistakes
from plugins.contract import DecodedImage, Evaluation, Evidence, PluginError, Prediction
from tests.plugins import photographs
from tests.plugins.context import example

EXAMPLES, DATA = photographs.materials(train=0, validation=6)
WRONG = [
    {"key": one.key, "label": one.label, "predicted": "gravel", "conf": 0.9, "label_conf": 0.1}
    for one in EXAMPLES
]


class Silent:
    """A predictor that explains nothing."""

    wanted_side = 32

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        raise AssertionError("the predictions are known")


class Explaining(Silent):
    """Sees evidence in the upper left corner, or refuses."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.asked: list[str] = []

    def explain(self, images: Sequence[DecodedImage], labels: Sequence[str] | None = None) -> list[Evidence]:
        if self.refuses:
            raise PluginError("cannot_explain", "no")
        self.asked += labels or ()
        return [Evidence("gravel", ((1.0, 0.0), (0.0, -1.0)), 1.0) for _ in images]


def sheet(folder: Path, predictor: Any, rows: Sequence[Any] = WRONG) -> Path:
    evaluation = Evaluation({}, {"mistakes": list(rows)})
    illustrate_mistakes(evaluation, EXAMPLES, lambda one: DATA[one.key], predictor, folder)
    return folder / FILE


def pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def orange(path: Path) -> int:
    """How many pixels are clearly orange."""
    red, green, blue = np.moveaxis(pixels(path).astype(int), 2, 0)
    return int(((red - blue > 80) & (red > green + 20)).sum())


def test_the_evidence_for_the_answer_stands_beside_the_image(tmp_path: Path) -> None:
    predictor = Explaining()
    assert orange(sheet(tmp_path, predictor)) > 12 * 1000
    assert predictor.asked == ["gravel"] * 12


@pytest.mark.parametrize("predictor", [Silent(), Explaining(refuses=True)])
def test_without_evidence_the_images_are_shown(tmp_path: Path, predictor: Any) -> None:
    path = sheet(tmp_path, predictor)
    assert orange(path) == 0
    assert pixels(path).std() > 20


def test_without_mistakes_there_is_no_sheet(tmp_path: Path) -> None:
    assert not sheet(tmp_path, Silent(), []).exists()
    unknown = [{**WRONG[0], "key": "gone.jpg"}]
    assert not sheet(tmp_path, Silent(), unknown).exists()
    illustrate_mistakes(Evaluation({}), [], lambda one: b"", Silent(), tmp_path)
    assert not (tmp_path / FILE).exists()


NAMES = ("牛乳パック", "бутылка", "זכוכית", "$x_1$ \\frac", "a\nb\tc\x00", "🥫 can", "long " * 60)


def test_every_script_and_length_can_be_drawn(tmp_path: Path) -> None:
    image = photographs.crop("brick", 0).convert("RGB")
    mistakes = [Mistake(f"{name}/{name}.jpg", name, name, 0.5, image, None) for name in NAMES]
    draw(mistakes, tmp_path / FILE)
    height, width, _ = pixels(tmp_path / FILE).shape
    assert width < 1500 and height < 1200


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_few_mistakes_make_a_small_sheet(tmp_path: Path, count: int) -> None:
    sheet(tmp_path, Explaining(), WRONG[:count])
    height, width, _ = pixels(tmp_path / FILE).shape
    assert width <= 470 * min(count, 3) and height <= 700


def test_characters_that_no_font_has_stay_apart() -> None:
    lettering = Lettering(["plain"])
    lettering._missing = {ord("牛"), ord("馬")}
    assert lettering.plain("牛") == r"\u725b" and lettering.plain("馬") == r"\u99ac"


def test_another_font_helps_out() -> None:
    known, others = (
        font_manager.get_font(str(font_manager.findfont(family))).get_charmap()
        for family in ("DejaVu Sans", "DejaVu Serif")  # matplotlib brings both
    )
    rare = next(chr(code) for code in sorted(others) if code not in known and chr(code).isprintable())
    lettering = Lettering([rare])
    assert len(lettering.families) == 2 and lettering.plain(rare) == unicodedata.normalize("NFC", rare)


def test_long_texts_lose_their_middle() -> None:
    lettering = Lettering([])
    assert lettering.plain("abcdefghij", 7) == "abc\N{HORIZONTAL ELLIPSIS}hij"
    assert lettering.plain("abcdefg", 7) == "abcdefg"
    assert lettering.plain("牛" * 10, 7) == "牛\N{HORIZONTAL ELLIPSIS}牛"


def test_what_matplotlib_would_interpret_is_escaped() -> None:
    assert Lettering([]).plain("5 $ and\n6 $\x07") == "5 \\$ and 6 \\$\\x07"


def test_an_image_of_one_pixel_can_be_shown(tmp_path: Path) -> None:
    tiny = photographs.encode(Image.new("RGB", (1, 1)), "PNG")
    one = example("a.png", tiny, "a", "validation")
    evaluation = Evaluation({}, {"mistakes": [{"key": "a.png", "label": "a", "predicted": "b", "conf": 0.5}]})
    illustrate_mistakes(evaluation, [one], lambda _: tiny, Explaining(), tmp_path)
    assert (tmp_path / FILE).exists()
