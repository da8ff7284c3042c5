"""Whether a model has learned anything: measured on images that it has not seen, against an answer that
looks at no image.

Images that are all alike, labels that do not fit the images, or classes that look the same give a model that
trains without a fault and is worth nothing. Whoever trained it shall be told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from plugins.classification.head import Targets

_LEAST_IMAGES = 5  # below, a figure says nothing
_CLEARLY = 2.0  # standard errors


@dataclass(frozen=True)
class Unseen:
    """The class indices that a model answered for images that it had not learned from, and the right ones;
    `where` ends the sentence "3 of 10 images ...".
    """

    answers: Targets
    targets: Targets
    where: str


def warning(sides: Sequence[Unseen], labels: Sequence[str]) -> str:
    """One sentence with what to do, when no side shows a model that is better than always answering the most
    frequent class; empty when one does.
    """
    telling = [one for one in sides if len(one.targets) >= _LEAST_IMAGES and len(np.unique(one.targets)) > 1]
    if not telling:
        return (
            "Too few images were kept from training to know whether this model is any good: label more "
            "images, five of every class at least."
        )
    if any(is_better(one) for one in telling):
        return ""
    one = telling[0]
    counts = np.bincount(one.targets)
    right = int((one.answers == one.targets).sum())
    return (
        f"This model is hardly better than always answering {labels[int(counts.argmax())]}: it has {right} "
        f"of {len(one.targets)} images {one.where} right, that answer {counts.max()}. Look whether the "
        "labels fit the images and whether the classes can be told apart in them, or label more images."
    )


def is_better(unseen: Unseen) -> bool:
    """Whether the accuracy is clearly above that of the most frequent class, or the mean recall clearly above
    that of any constant answer, which is how a model is of use that finds the few images of a rare class.
    """
    counts = np.bincount(unseen.targets)
    present = np.flatnonzero(counts)
    images, most = len(unseen.targets), counts.max()
    hits = np.bincount(unseen.targets[unseen.answers == unseen.targets], minlength=len(counts))[present]
    doubt = math.sqrt(most * (1 - most / images))
    if hits.sum() > most + _CLEARLY * doubt:
        return True
    sizes = counts[present]
    likely = (hits + 1) / (sizes + 2)  # never 0 or 1, however few images
    spread = math.sqrt((likely * (1 - likely) / sizes).sum()) / len(present)
    return bool((hits / sizes).mean() > 1 / len(present) + _CLEARLY * spread)
