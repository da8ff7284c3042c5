"""How sure and how right scores are on a few validation images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Targets = npt.NDArray[np.int64]

_TEMPERATURES = np.logspace(-1.5, 0.7, 45)  # 0.03 (hundreds of classes of two images) to 5
_CAUTION = 2.0  # images whose worth in log loss an extreme temperature must earn


@dataclass(frozen=True)
class Judgement:
    """`log_loss` is read after dividing the scores by `temperature`, which makes them as sure as they may be:
    networks trained on smoothed labels are too modest, layers fitted on few images too sure, and neither
    shall decide which of them is better. `accuracy` is a share, `losses` are those of each image.
    """

    log_loss: float
    accuracy: float
    temperature: float
    losses: npt.NDArray[np.float64]


def judge(scores: Floats, targets: Targets) -> Judgement:
    """Judge scores (images, classes); without images the judgement is empty: 0, 0 and temperature 1."""
    if not len(targets):
        return Judgement(0.0, 0.0, 1.0, np.empty(0))
    each = np.stack([_losses(scores / temperature, targets) for temperature in _TEMPERATURES])
    losses = each.mean(1)
    caution = _CAUTION / len(targets) * np.log(_TEMPERATURES) ** 2
    best = int(np.argmin(losses + caution))
    accuracy = float((scores.argmax(1) == targets).mean())
    return Judgement(
        float(losses[best] + caution[best]), accuracy, float(_TEMPERATURES[best]), each[best] + caution[best]
    )


def _losses(scores: npt.NDArray[np.floating], targets: Targets) -> npt.NDArray[np.float64]:
    """The negative logarithm of the probability of the truth, an image."""
    shifted = scores.astype(np.float64) - scores.max(1, keepdims=True)
    given = shifted[np.arange(len(targets)), targets] - np.log(np.exp(shifted).sum(1))
    losses: npt.NDArray[np.float64] = -given
    return losses
