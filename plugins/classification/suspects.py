"""Probable label mistakes, by confident learning (Northcutt, Jiang and Chuang, arXiv:1911.00068).

An image counts as one of class k when its probability of k, from a model that has not seen the image,
reaches the mean that images labelled k get: classes that are hard for the model need less than easy ones.
Where that class is not the label, one of the two is wrong, and on a hard set it is often the model. So an
image is listed only when the other class is also ten times as probable as the label; measured with 5 % of
planted mistakes, most of those listed are planted ones, and a set without them lists a few images in a
hundred or none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from plugins.contract import PluginError

ODDS = 10.0
MOST = 50  # listed; whoever has corrected these trains again and gets the next ones
_LEAST = 1e-6  # keeps the odds finite


def find(
    keys: Sequence[str],
    targets: npt.NDArray[np.int64],
    out_of_fold_probabilities: npt.NDArray[np.floating],
    labels: Sequence[str],
) -> list[dict[str, Any]]:
    """The images whose label is probably wrong, the most probable mistake first.

    Row i of the probabilities (images, classes) is what a model trained without image i says of it. Each
    entry has `key`, `label`, `predicted`, `conf` (of `predicted`) and `label_conf`. Raises `PluginError`
    (`model_failed`) for probabilities that are not numbers.
    """
    probabilities = np.asarray(out_of_fold_probabilities, np.float64)
    if not np.isfinite(probabilities).all():
        raise PluginError("model_failed", "a confidence in cross-validation is not a number; train again")
    if not len(targets):
        return []
    rows = np.arange(len(targets))
    given = probabilities[rows, targets]
    counts = np.bincount(targets, minlength=len(labels))
    # A class without images can be nobody's true class: nothing reaches 2.
    expected = np.where(
        counts, np.bincount(targets, given, minlength=len(labels)) / np.maximum(counts, 1), 2.0
    )
    reached = np.where(probabilities >= expected, probabilities, 0.0)
    other = reached.argmax(1)
    conf = reached[rows, other]
    odds = np.where(other != targets, conf / np.maximum(given, _LEAST), 0.0)
    order = sorted(np.flatnonzero(odds >= ODDS).tolist(), key=lambda row: (-odds[row], keys[row]))
    return [
        {
            "key": keys[row],
            "label": labels[targets[row]],
            "predicted": labels[other[row]],
            "conf": float(conf[row]),
            "label_conf": float(given[row]),
        }
        for row in order[:MOST]
    ]
