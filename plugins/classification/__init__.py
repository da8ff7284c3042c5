"""Image classification: one class name an image."""

from __future__ import annotations

from plugins.classification.metrics import METRICS
from plugins.classification.params import ClassificationParams, PrecisionParams
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
        Algorithm(
            name="classification-high-precision",
            title="Classification (high precision)",
            description="More accurate, slower to train and to serve; the most accurate network at hand that "
            "the time budget allows (torchvision's, else EfficientNet-Lite2).",
            params=PrecisionParams,
        ),
    ),
    headline="accuracy",
    trainer="plugins.classification.trainer:train",
    predictor="plugins.classification.predictor:open_predictor",
    evaluator="plugins.classification.evaluate:evaluate",
    illustrator="plugins.classification.plots:illustrate",
    labeling="plugins.classification.labeling",
    mistakes="plugins.classification.mistakes:illustrate_mistakes",
    pretrained="plugins.classification.bases.pretrained:open_pretrained",
    selection="plugins.classification.selection",
    browser="plugins.classification.browser:describe",
    metrics=METRICS,
    explains=True,
)
