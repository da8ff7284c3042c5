"""A classifier by the nearest mean colour pattern; NumPy only."""

from __future__ import annotations

from dataclasses import dataclass, field

from plugins.classification.metrics import METRICS
from plugins.contract import Algorithm, Plugin


@dataclass(frozen=True)
class Params:
    """One number, to have a form."""

    side: int = field(
        default=8, metadata={"help": "Side in pixels of the reduced images.", "minimum": 1, "maximum": 64}
    )


PLUGIN = Plugin(
    name="nearest-mean",
    title="Nearest mean",
    dataset_type="nearest-mean",
    label_form="class",
    algorithms=(Algorithm("nearest-mean", "Nearest mean", "Compares colours.", Params),),
    headline="accuracy",
    trainer="nearest_mean.model:train",
    predictor="nearest_mean.model:open_predictor",
    evaluator="plugins.classification.evaluate:evaluate",
    illustrator="plugins.classification.plots:illustrate",
    labeling="plugins.classification.labeling",
    metrics=METRICS,
)
