"""What is told of a training while it runs and afterwards."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plugins import registry
from plugins.classification.plots import illustrate
from plugins.classification.trainer import train
from plugins.contract import Evaluation
from tests.plugins import photographs
from tests.plugins.context import MemoryContext

ALGORITHM = registry.algorithm("classification-high-performance")[1]
EACH_EPOCH = {
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "images_per_second",
    "time_left",
}
Rows = list[dict[str, object]]


def test_every_epoch_is_recorded_while_training_runs(tmp_path: Path) -> None:
    params = registry.parse_params(ALGORITHM, {"image_size": 64, "epochs": 2})
    examples, data = photographs.materials(train=6, validation=2)
    context = MemoryContext(tmp_path, params, photographs.MATERIALS, examples, data, budget=600.0)
    train(context)
    for epoch in (1, 2):
        rows = [row for row in context.rows if row["epoch"] == epoch]
        assert {row["name"] for row in rows} == EACH_EPOCH
        assert all(math.isfinite(row["value"]) for row in rows)
    first = {row["name"] for row in context.rows if row["epoch"] == 0}
    assert first == {"validation_loss", "validation_accuracy"}
    ends = [line for line in context.lines if line.startswith("Epoch ")]
    assert len(ends) == 2 and "validation accuracy" in ends[0]


def _rows(epochs: int, names: set[str]) -> Rows:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "name": name,
            "epoch": float(epoch),
            "value": 0.5,
            "step": "train",
            "at": (start + timedelta(seconds=9 * epoch)).isoformat(),
        }
        for epoch in range(epochs + 1)
        for name in names
    ]


@pytest.mark.parametrize(
    "epochs, names, panels_down",
    [(3, EACH_EPOCH, 2), (0, {"validation_loss", "validation_accuracy"}, 1), (1, {"loss"}, 1)],
)
def test_the_plot_has_a_panel_for_what_was_recorded(
    tmp_path: Path, epochs: int, names: set[str], panels_down: int
) -> None:
    illustrate(Evaluation({}), _rows(epochs, names), tmp_path)
    with Image.open(tmp_path / "training.png") as picture:
        assert picture.height == pytest.approx(110 * (2.7 * panels_down + 0.4), abs=2)
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20


def test_without_rows_of_training_there_is_no_plot(tmp_path: Path) -> None:
    rows = [{"name": "accuracy", "epoch": 0.0, "value": 0.5, "step": "evaluate"}]
    illustrate(Evaluation({}), rows, tmp_path)
    assert not list(tmp_path.iterdir())
