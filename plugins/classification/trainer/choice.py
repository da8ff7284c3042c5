"""Which of the weights that fine-tuning passed through are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from plugins.classification.bases import Network
from plugins.classification.cache import Images
from plugins.classification.judging import Judgement
from plugins.classification.trainer.inference import judged
from plugins.contract import TrainingContext
from plugins.fitting import Fitted, Weights

_USUAL, _LESS = 0.85, 0.4
_MODESTY = 0.2  # nats that smoothed labels cost where all is right; networks that fell apart lose more


def choose(
    context: TrainingContext,
    network: Network,
    rounds: Sequence[Fitted],
    validation: Images,
    *,
    part_way: bool = True,
) -> float:
    """Put the best weights into the network: those of the best epoch, the mean of the rounds, or on the way
    there from the start, where networks are often better than at either end (Wortsman et al.,
    arXiv:2109.01903).

    A few validation images are little to choose by, so they decide only what they can: what lies `_USUAL` of
    the way to the end is taken unless it is worse than the start by more than the standard error of the
    difference, and anything else instead of that only if it is better by more than that. Where it is worse,
    `_LESS` of the way is taken, if `part_way` allows and it is only less sure (see `is_only_less_sure`). What
    the rule took was hardly ever less accurate on test sides than the start (see
    benchmarks/classification.md). Answers the share of the way that was kept: 0 is the start.
    """
    start = {name: value.clone() for name, value in network.state_dict().items()}
    first, whole = rounds[0], [fitted for fitted in rounds if fitted.ending != "stopped"]
    if not first.epochs or not (whole or len(validation)):
        return 0.0  # nothing was learned, or it was cut short and there is nothing to judge it by
    ways = [(0.0, start), (float(first.best_epoch > 0), first.best)]
    if whole:
        end = _mean([fitted.last for fitted in whole])
        ways += [(share, _between(start, end, share)) for share in (_USUAL, _LESS, 1.0)]
    if not len(validation):
        network.load_state_dict(ways[2][1])
        return _USUAL
    found: list[Judgement] = []
    for _, weights in ways:
        if len(found) >= 2 and context.stop_requested():
            break
        network.load_state_dict(weights)
        found.append(judged(context, network, validation))
    chosen = better(found, part_way)
    network.load_state_dict(ways[chosen][1])
    return ways[chosen][0]


def _mean(all_weights: Sequence[Weights]) -> Weights:
    return {name: torch.stack([one[name] for one in all_weights]).mean(0) for name in all_weights[0]}


def _between(start: Weights, end: Weights, share: float) -> Weights:
    return {name: torch.lerp(start[name], value, share) for name, value in end.items()}


def better(found: Sequence[Judgement], part_way: bool = True) -> int:
    """Which candidate to take by how it was judged: the start, the best epoch, `_USUAL` of the way, `_LESS`,
    and others. A training cut short has only some: its best epoch must be worth its doubt.
    """
    losses = [one.losses for one in found]
    best = int(np.argmin([one.mean() for one in losses]))
    if len(losses) < 3:
        return 1 if _is_better(losses[-1], losses[0]) else 0
    if not _is_better(losses[0], losses[2]):
        return best if _is_better(losses[best], losses[2]) else 2
    if _is_better(losses[best], losses[0]):
        return best
    return 3 if part_way and len(found) > 3 and is_only_less_sure(found[3], found[0]) else 0


def is_only_less_sure(one: Judgement, other: Judgement) -> bool:
    """Whether it has no more mistakes, and its loss is no higher than that of a modest network may be. A
    first model that knows nearly all images is surer than a network trained on smoothed labels can be, and
    that is most of what their losses tell.
    """
    return one.accuracy >= other.accuracy and one.losses.mean() - other.losses.mean() <= _MODESTY


def _is_better(losses: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> bool:
    """Whether the mean is lower by more than the standard error of the difference."""
    gain = others - losses
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / math.sqrt(len(gain)))
