"""What the numbers of an evaluation mean."""

from __future__ import annotations

from plugins.contract import Metric

METRICS = (
    Metric(
        "end_to_end_f1",
        "harmonic mean of precision and recall of texts found and read rightly, whatever the case and the "
        "spaces",
        share=True,
    ),
    Metric("end_to_end_f1_strict", "the same, the text exactly right", share=True),
    Metric("end_to_end_precision", "share of the answers that are right", share=True),
    Metric("end_to_end_recall", "share of the marked texts that are found and read rightly", share=True),
    Metric(
        "detection_f1",
        "harmonic mean of precision and recall of finding text (overlap of at least 0.5)",
        share=True,
    ),
    Metric("detection_precision", "share of the answers that lie where a text is marked", share=True),
    Metric("detection_recall", "share of the marked texts that are found", share=True),
    Metric("exact_match", "share of the texts found that are read exactly", share=True),
    Metric("exact_match_loose", "the same, whatever the case and the spaces", share=True),
    Metric(
        "character_error_rate",
        "characters to change in what is read, for each character that is there",
        "lower",
    ),
    Metric("regions", "marked texts measured on", "neither"),
    Metric("examples", "images measured on", "neither"),
)
