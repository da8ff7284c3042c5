"""What a network answers on decoded images: features for the first layer fitted, judgements for choosing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from plugins import fitting
from plugins.classification import exporter, head
from plugins.classification.bases import Network
from plugins.classification.cache import Images
from plugins.classification.judging import Judgement, judge
from plugins.contract import TrainingContext

_CHUNK = 32


def features(context: TrainingContext, network: Network, rows: Any) -> head.Floats:
    """Pooled features of all rows, or of the first ones when asked to stop."""
    parts = []
    network.eval()
    for start in range(0, len(rows), _CHUNK):
        with torch.inference_mode(), fitting.autocast(context.device):
            part = network.features(exporter.to_input(rows[start : start + _CHUNK], context.device))
        parts.append(part.float().cpu().numpy())
        if context.should_stop():
            break
    return np.concatenate(parts)


@torch.no_grad()
def judged(context: TrainingContext, network: Network, images: Images) -> Judgement:
    """Judge the network on plain images."""
    network.eval()
    scores = [
        network(exporter.to_input(images.plain[start : start + _CHUNK], context.device)).float().cpu()
        for start in range(0, len(images), _CHUNK)
    ]
    return judge(torch.cat(scores).numpy() if scores else np.empty((0, 1), np.float32), images.targets)


def rows_of(judgement: Judgement, validation: Images) -> dict[str, float]:
    """What is reported of a judgement: nothing when there was nothing to judge by."""
    if not len(validation):
        return {}
    return {"validation_loss": judgement.log_loss, "validation_accuracy": judgement.accuracy}


def calibrate(context: TrainingContext, network: Network, validation: Images) -> None:
    """Scale the scores so that confidences are neither too high nor too low; the order of classes stays."""
    temperature = judged(context, network, validation).temperature
    with torch.no_grad():
        network.head.weight.div_(temperature)
        network.head.bias.div_(temperature)
    context.fact("temperature", round(temperature, 3))
