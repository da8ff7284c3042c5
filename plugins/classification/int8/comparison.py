"""Is the int8 graph as good as the fp32 graph, and faster? What it rests on, and the rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from plugins.classification.preprocess import Pixels
from plugins.quantisation import Stopped, speed
from plugins.quantisation.speed import Speed

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64]

MOST_LOST = 0.005  # of the accuracy
MOST_DIFFERENCE = 0.05  # of the probabilities
LEAST_AGREEMENT = 0.99  # on the images that the model was trained on

_CHUNK = 4  # images between two questions whether to stop
_SECONDS = 5.0  # of comparison, at the measured speed
_FEWEST, _MOST = 24, 400


@dataclass(frozen=True)
class Agreement:
    """The two graphs on the same images.

    `agreement` is the share of images with the same answer; `difference` the mean over the images of half the
    sum of |p - q| over the classes (total variation, 0..1); `expected_loss` the mean of p(answer of fp32) -
    p(answer of int8), both probabilities by fp32.
    """

    images: int
    agreement: float
    difference: float
    expected_loss: float

    def facts(self) -> Mapping[str, Any]:
        """As JSON."""
        return {
            "images": self.images,
            "agreement": round(self.agreement, 4),
            "difference": round(self.difference, 4),
            "expected_loss": round(self.expected_loss, 4),
        }


@dataclass(frozen=True)
class Comparison:
    """All of it. `accuracy` is that of fp32 and of int8 on validation images, None where there are none."""

    speed: Speed
    training: Agreement
    validation: Agreement | None
    accuracy: tuple[float, float] | None

    def fault(self) -> str:
        """Why int8 is not to be served by its answers; empty when it may be.

        The accuracy on validation images must not fall by more than 0.5 points; of 29 images not a single
        one may be lost on balance. As so few say little, two things that need no labels are asked as well.
        Where the answers differ, fp32 itself says how much more probable its own answer was: the mean of that
        is the loss of accuracy to be expected, and may be 0.5 points (validation images, plain and mirrored,
        where the model is as unsure as it is in use; without any, training images). And confidences must stay
        what they were: the mean difference of the probabilities at most 0.05; on training images, of which
        the model is sure, 99 % of the answers must be the same.
        """
        if self.accuracy is not None and self.accuracy[0] - self.accuracy[1] > MOST_LOST:
            return f"accuracy on validation falls from {self.accuracy[0]:.1%} to {self.accuracy[1]:.1%}"
        judged = self.validation or self.training
        if judged.expected_loss > MOST_LOST:
            return f"it is expected to lose {100 * judged.expected_loss:.1f} points of accuracy"
        if judged.difference > MOST_DIFFERENCE:
            return f"its probabilities differ by {judged.difference:.3f} on average"
        if self.training.agreement < LEAST_AGREEMENT:
            return f"it answers {1 - self.training.agreement:.1%} of the training images otherwise"
        return ""

    @property
    def faster(self) -> bool:
        """Whether int8 is faster on this machine."""
        return self.speed.faster

    def facts(self) -> Mapping[str, Any]:
        """As JSON."""
        fp32, int8 = self.accuracy or (None, None)
        return {
            **self.speed.facts(),
            "accuracy_fp32": None if fp32 is None else round(fp32, 4),
            "accuracy_int8": None if int8 is None else round(int8, 4),
            "on_training": self.training.facts(),
            "on_validation": None if self.validation is None else self.validation.facts(),
        }


def measure_speed(fp32: Any, int8: Any, rows: Pixels, *, stop: Callable[[], bool]) -> Speed:
    """Time two sessions of one thread in turns, one image a run, as an instance of quota 1 serves. Raises
    `Stopped`.
    """

    def run(session: Any, number: int) -> None:
        row = np.ascontiguousarray(rows[number % len(rows)][None])
        session.run(["probabilities"], {"images": row})

    return speed.measure(partial(run, fp32), partial(run, int8), stop=stop)


def affordable(speed: Speed, threads: int) -> int:
    """How many images the comparison takes at most."""
    return int(np.clip(_SECONDS * threads / (speed.fp32 + speed.int8), _FEWEST, _MOST))


def probabilities(session: Any, rows: Pixels, *, stop: Callable[[], bool]) -> Floats:
    """(n, size, size, 3) bytes -> (n, classes). Raises `Stopped`."""
    parts = []
    for start in range(0, len(rows), _CHUNK):
        if stop():
            raise Stopped
        batch = np.ascontiguousarray(rows[start : start + _CHUNK])
        parts.append(session.run(["probabilities"], {"images": batch})[0])
    answers: Floats = np.concatenate(parts)
    return answers


def agreement(fp32: Floats, int8: Floats) -> Agreement:
    """Compare probabilities (n, classes) of the two. Values that are no numbers count as wholly different."""
    if not np.isfinite(int8).all():
        return Agreement(len(fp32), 0.0, 1.0, 1.0)
    rows = np.arange(len(fp32))
    one, other = fp32.argmax(1), int8.argmax(1)
    return Agreement(
        len(fp32),
        float((one == other).mean()),
        float(np.abs(fp32 - int8).sum(1).mean() / 2),
        float((fp32[rows, one] - fp32[rows, other]).mean()),
    )


def accuracy(answers: Floats, targets: Targets) -> float:
    """The share of rows (n, classes) whose greatest value is that of the target."""
    return float((answers.argmax(1) == targets).mean())
