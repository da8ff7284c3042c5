"""OCR: where text stands in an image, and what it says."""

from __future__ import annotations

from plugins.contract import Algorithm, Plugin
from plugins.ocr.metrics import METRICS
from plugins.ocr.params import OcrParams

PLUGIN = Plugin(
    name="ocr",
    title="OCR",
    dataset_type="ocr",
    label_form="regions",
    algorithms=(
        Algorithm(
            name="ocr-high-performance",
            title="OCR (high performance)",
            description="Finds and reads text; two small networks that run well without a GPU (PP-OCRv6 "
            "small, or docTR's).",
            params=OcrParams,
        ),
    ),
    headline="end_to_end_f1",
    trainer="plugins.ocr.trainer:train",
    predictor="plugins.ocr.predictor:open_predictor",
    evaluator="plugins.ocr.evaluate:evaluate",
    illustrator="plugins.ocr.plots:illustrate",
    labeling="plugins.ocr.labeling",
    mistakes="plugins.ocr.mistakes:illustrate_mistakes",
    reader="plugins.ocr.exporter.pretrained:open_reader",
    proofreading="plugins.ocr.proofreading",
    metrics=METRICS,
)
