"""How the time of a training is divided between finding text and reading it."""

from __future__ import annotations

from collections.abc import Mapping

_LEAST, _MOST = 0.15, 0.75
# What a mistake in finding text counts beside one in reading it: a minute mends fewer of these. On receipts
# ten minutes of the detector gained nothing to speak of, five of the recogniser five points end to end.
_WORTH = 0.5


def detector_share(metrics: Mapping[str, float]) -> float:
    """The share for finding text, from what goes wrong before training: the part of all mistakes that are
    boxes, which count half. `metrics` are those of `plugins.ocr.evaluate`, with thresholds fitted to the
    boxes: what these mend needs no training. Neither network is left without any.
    """
    boxes = _WORTH * (1 - metrics["detection_f1"])
    reading = metrics["detection_f1"] * (1 - metrics["exact_match_loose"])
    if boxes + reading <= 0:
        return 0.5
    return min(max(boxes / (boxes + reading), _LEAST), _MOST)
