"""What the numbers of an evaluation mean."""

from __future__ import annotations

from plugins.contract import Metric

METRICS = (
    Metric("accuracy", "share of the images that got the right class", share=True),
    Metric("balanced_accuracy", "accuracy with every class counting alike", share=True),
    Metric("macro_f1", "mean over the classes of F1, the harmonic mean of precision and recall", share=True),
    Metric("top_3_accuracy", "share of the images whose class is among the first three answers", share=True),
    Metric("log_loss", "how wrong the confidences are; 0 is perfect", "lower"),
    Metric(
        "ece",
        "expected calibration error: mean gap between confidence and share of right answers; 0 is perfect",
        "lower",
    ),
    Metric(
        "brier",
        "mean squared error of the confidences (Brier score); 0 is perfect, 2 the worst",
        "lower",
    ),
    Metric("coverage", "share of the images whose answer it acts on", share=True),
    Metric("acted_precision", "share of right answers among those it acts on", share=True),
    Metric("examples", "images measured on", "neither"),
)
