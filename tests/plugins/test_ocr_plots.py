"""Plots and pictures of a reader's mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from plugins.contract import DecodedImage, Output, Prediction
from plugins.ocr.evaluate import evaluate
from plugins.ocr.mistakes import illustrate_mistakes
from plugins.ocr.plots import illustrate
from tests.plugins.ocr_pages import page


@dataclass
class Reader:
    """Answers what it is told to."""

    answers: Prediction
    wanted_side: int | None = None

    def predict(self, images: Sequence[DecodedImage]) -> list[Prediction]:
        return [self.answers for _ in images]


def reader() -> Reader:
    example, _ = page(1)
    first, second = (tuple((x / 240, y / 120) for x, y in region.points) for region in example.regions)
    far = ((0.8, 0.8), (0.95, 0.8), (0.95, 0.9), (0.8, 0.9))
    return Reader(
        Prediction((Output("A17", 0.9, first), Output("8 $1 字", 0.8, second), Output("x", 0.3, far)))
    )


def test_the_worst_images_are_drawn_with_what_was_answered(tmp_path: Path) -> None:
    example, data = page(1)
    model = reader()
    evaluation = evaluate([example], [model.answers])
    illustrate_mistakes(evaluation, [example], lambda _: data, model, tmp_path)
    with Image.open(tmp_path / "mistakes.png") as drawn:
        assert drawn.format == "PNG" and drawn.width > 300


def test_without_mistakes_nothing_is_drawn(tmp_path: Path) -> None:
    example, data = page(1)
    right = Prediction(
        tuple(
            Output(region.text or "", 0.9, tuple((x / 240, y / 120) for x, y in region.points))
            for region in example.regions
        )
    )
    illustrate_mistakes(evaluate([example], [right]), [example], lambda _: data, Reader(right), tmp_path)
    assert not list(tmp_path.iterdir())


def test_plots_show_what_there_is(tmp_path: Path) -> None:
    example, _ = page(1)
    evaluation = evaluate([example], [reader().answers])
    rows = [
        {"name": f"{network}_{what}", "epoch": epoch, "value": 1 / (1 + epoch), "step": "train"}
        for network in ("detector", "recogniser")
        for what in ("loss", "end_to_end_f1")
        for epoch in range(4)
    ]
    illustrate(evaluation, rows, tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"lengths.png", "characters.png", "confusions.png", "training.png"}
    illustrate(evaluate([], []), [], tmp_path / "none")
    assert not list((tmp_path / "none").iterdir())
