"""Whether a model answers on this machine as it did where it was exported.

A bundle carries some images with the answers they must get (`test_vectors/expected.json`). Answering for one
of them before the first request also warms the model up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plugins import images
from plugins.contract import PluginError, Prediction, Predictor

VECTORS = "test_vectors"
# Processors round differently, quantised models most; a model that was mixed up is far beyond this.
TOLERANCE = 0.1


def run(predictor: Predictor, bundle: Path) -> bool:
    """Answer for the first test vector; False when the bundle has none.

    Raises `PluginError` when the answer is another one, and whatever the predictor raises.
    """
    pictures = [path for path in sorted((bundle / VECTORS).glob("*")) if path.suffix in images.EXTENSIONS]
    if not pictures:
        return False
    decoded = images.decode(pictures[0].read_bytes(), wanted_side=predictor.wanted_side)
    prediction = predictor.predict([decoded])[0]
    for vector in _expected(bundle):
        if vector.get("file") == pictures[0].name:
            _compare(prediction, vector.get("outputs", ()))
    return True


def _expected(bundle: Path) -> Sequence[Mapping[str, Any]]:
    path = bundle / VECTORS / "expected.json"
    if not path.exists():
        return ()
    vectors: Sequence[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return vectors


def _compare(prediction: Prediction, expected: Sequence[Mapping[str, Any]]) -> None:
    """Classes are compared; regions are not, because one pixel can join or part them."""
    given = {output.label: output.conf for output in prediction.outputs if output.pos is None}
    for output in expected:
        if output.get("pos") is None and abs(given.get(output["label"], -1.0) - output["conf"]) > TOLERANCE:
            raise PluginError(
                "self_test_failed",
                f"the model gives {output['label']!r} {given.get(output['label'], 0.0):.3f} for a test image "
                f"where {output['conf']:.3f} is right",
            )
