"""Which images to label next, and which labels are doubtful, by features of a network.

Both rest on the last layer alone, fitted to the labels as they are now: it takes a second, so the order can
follow the labels without a training in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from plugins import selection
from plugins.classification import head, suspects
from plugins.contract import Doubt, Pick, PluginError


def rank(rows: Any, labels: Sequence[str | None], count: int, *, seed: int) -> list[Pick]:
    """See `plugins.contract.Selection`. Until two classes have an image it is a cold start."""
    labelled = np.array([label is not None for label in labels], bool)
    names = sorted({label for label in labels if label is not None})
    probabilities = _probabilities(rows, labels, labelled, names) if len(names) > 1 else None
    return selection.order(rows, labelled, probabilities, count, seed=seed)


def doubts(rows: Any, labels: Sequence[str | None], groups: Sequence[str]) -> list[Doubt]:
    """See `plugins.contract.Selection`: out-of-fold probabilities, then confident learning."""
    known = np.array([place for place, label in enumerate(labels) if label is not None], np.intp)
    names, targets = _targets(labels, known)
    if len(names) < 2:
        raise PluginError("too_few_images", "mistakes are found between classes; label two of them at least")
    features = np.asarray(rows[known], np.float32)
    given = head.out_of_fold(features, targets, np.array([groups[place] for place in known]), len(names))
    part = np.flatnonzero(np.isfinite(given).all(1))
    if not len(part):
        raise PluginError(
            "too_few_images", "a class has a single image, so nothing can judge it; label one more of each"
        )
    keys = [f"{place:012d}" for place in known[part]]
    return [
        Doubt(int(entry["key"]), entry["label"], entry["predicted"], entry["conf"])
        for entry in suspects.find(keys, targets[part], given[part], names)
    ]


def _probabilities(
    rows: Any, labels: Sequence[str | None], labelled: npt.NDArray[np.bool_], names: Sequence[str]
) -> head.Floats:
    """(images, classes) by a last layer with usual values: to choose them takes a hundred times longer."""
    known = np.flatnonzero(labelled)
    _, targets = _targets(labels, known)
    features = np.asarray(rows[known], np.float32)
    alike = np.zeros(len(known), np.str_)  # one group: nothing is cross-validated
    fitted = head.fit(features[None], targets, alike, len(names), stop=lambda: True)
    found = np.empty((len(rows), len(names)), np.float32)
    for start in range(0, len(rows), 1024):
        scores = np.asarray(rows[start : start + 1024], np.float32) @ fitted.weight.T + fitted.bias
        powers = np.exp(scores - scores.max(1, keepdims=True))
        found[start : start + 1024] = powers / powers.sum(1, keepdims=True)
    return found


def _targets(labels: Sequence[str | None], known: npt.NDArray[np.intp]) -> tuple[list[str], head.Targets]:
    """The class names, sorted, and the number of each known row's."""
    named = [str(labels[place]) for place in known]
    names, targets = np.unique(named, return_inverse=True)
    return [str(name) for name in names], targets.astype(np.int64)
