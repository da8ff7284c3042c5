"""Image classification: one class name an image."""

from __future__ import annotations

from plugins.classification.params import ClassificationParams
from plugins.contract import Algorithm, Plugin

PLUGIN = Plugin(
    name="classification",
    title="Image classification",
    dataset_type="classification",
    label_form="class",
    algorithms=(
        Algorithm(
            name="classification-high-performance",
            title="Classification (high performance)",
            description="Fast to train and to serve; a small network (EfficientNet-Lite0).",
            params=ClassificationParams,
        ),
    ),
    headline="accuracy",
    trainer="plugins.classification.trainer:train",
    predictor="plugins.classification.predictor:open_predictor",
    evaluator="plugins.classification.evaluate:evaluate",
    illustrator="plugins.classification.plots:illustrate",
    labeling="plugins.classification.labeling",
    mistakes="plugins.classification.mistakes:illustrate_mistakes",
)
