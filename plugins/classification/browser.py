"""What a web page needs to run a classifier by itself and to decide as the predictor does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plugins.classification.trust import Trust
from plugins.classification.unfamiliar import NEIGHBOURS, Floats, Reference
from plugins.contract import BrowserModel, Familiar


def describe(folder: Path, model: Mapping[str, Any]) -> BrowserModel:
    """See `plugins.contract.DescribeForBrowser`. Raises `PluginError` for a damaged trust file."""
    trust = Trust.open(folder, model)
    return BrowserModel(
        file=str(model["file"]),
        labels=tuple(model["labels"]),
        side=int(model["image_size"]),
        thresholds=() if trust is None else tuple(np.minimum(trust.thresholds, 2).tolist()),
        familiar=None if trust is None or trust.reference is None else _familiar(trust.reference),
    )


def _familiar(reference: Reference) -> Familiar:
    images, directions = reference.rows.shape
    return Familiar(
        scale=_packed(reference.scale),
        basis=_packed(reference.basis),
        rows=_packed(reference.rows),
        width=len(reference.scale),
        directions=directions,
        images=images,
        neighbours=min(NEIGHBOURS, max(images - 1, 1)),
        limit=reference.limit,
    )


def _packed(array: Floats) -> bytes:
    return np.ascontiguousarray(array, "<f4").tobytes()
