"""Which texts stand upside down in their boxes.

Many tools begin a box at the upper left of the image, whatever the reading direction; then the text of a
sleeve or a label photographed upside down is marked the wrong way round. Each line is read both ways, and it
is upside down where its text can be read that way and is more probable so. The former matters where labels
say in capitals what is printed in small letters: such a text is improbable either way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from plugins.contract import TrainingContext
from plugins.ocr.bases.network import Recogniser
from plugins.ocr.trainer.lines import Lines
from plugins.ocr.trainer.recogniser import batch, batch_sizes, codes, ctc, view
from plugins.spread import spread

_SAMPLE = 120  # lines that show whether any are upside down
_FEW = (
    0.02  # share of them up to which the others are not worth reading twice: on receipts two minutes for one
)
_MARGIN = 0.7  # nats a character by which upside down must be better: short texts are often alike both ways
_READ = 1.5  # nats a character up to which a text counts as read upside down


def turn(context: TrainingContext, model: Recogniser, lines: Lines) -> int:
    """Mark the lines that are to be read upside down; how many those are. Where hardly any of a sample is,
    the rest is taken as it is.
    """
    lines.turned[:] = False
    sample = spread(len(lines), _SAMPLE).tolist()
    found = _upside_down(context, model, lines, sample)
    lines.turned[sample] = found
    rest = sorted(set(range(len(lines))) - set(sample))
    if rest and found.mean() > _FEW:
        lines.turned[rest] = _upside_down(context, model, lines, rest)
    return int(lines.turned.sum())


def _upside_down(
    context: TrainingContext, model: Recogniser, lines: Lines, places: Sequence[int]
) -> npt.NDArray[np.bool_]:
    """For each of these lines whether it is upside down; those not reached before a stop are not."""
    widths = np.array([lines.widths[place] for place in places], np.int64)
    order = np.argsort(widths, kind="stable")
    answer = np.zeros(len(places), np.bool_)
    known = codes(model)
    start = 0
    model.eval()
    for size in batch_sizes(widths[order]):
        if context.should_stop():
            break
        group = order[start : start + size]
        start += size
        views = [view(lines, places[index], None) for index in group.tolist()]
        texts = [lines.texts[places[index]] for index in group.tolist()]
        with torch.no_grad():
            upright, turned = (
                ctc(model, batch(some, texts, known), context.device).cpu().numpy()
                for some in (views, [np.ascontiguousarray(one[::-1, ::-1]) for one in views])
            )
        answer[group] = (turned + _MARGIN < upright) & (turned < _READ)
    return answer
