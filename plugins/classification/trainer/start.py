"""Stage 1: the last layer on features of the pretrained network, ready within seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch

from plugins import fitting
from plugins.classification import head
from plugins.classification.bases import Network
from plugins.classification.cache import Images
from plugins.classification.trainer.inference import features, judged, rows_of
from plugins.contract import TrainingContext, TrainingStopped


def start(context: TrainingContext, network: Network, sides: Mapping[str, Images]) -> float:
    """Put a fitted last layer into the network, or the one of an earlier attempt; its strength."""
    path = context.folder / "head.safetensors"
    started = time.monotonic()
    if path.is_file():
        layer, record = fitting.read_checkpoint(path)
        network.head.load_state_dict(layer)
    else:
        fitted = fit_head(context, network, sides["train"])
        record = {"strength": fitted.strength}
        with torch.no_grad():
            network.head.weight.copy_(torch.from_numpy(fitted.weight))
            network.head.bias.copy_(torch.from_numpy(fitted.bias))
        context.checkpoint()
        fitting.write_checkpoint(path, network.head.state_dict(), record)
    rows = rows_of(judged(context, network, sides["validation"]), sides["validation"])
    seconds = time.monotonic() - started
    context.fact("head_seconds", round(seconds, 1))
    for name, value in rows.items():
        context.report(name, value, epoch=0)
    context.log(f"A first model is ready after {seconds:.0f} s{_in_words(rows)}.")
    strength: float = record["strength"]
    return strength


def fit_head(context: TrainingContext, network: Network, images: Images) -> head.Head:
    """Fit the last layer on features of the images and of their mirror images."""
    views = [features(context, network, images.plain)]
    if len(views[0]) < len(images):
        raise TrainingStopped("stopped before there was a model")
    if not context.should_stop():
        mirrored = features(context, network, images.plain[:, :, ::-1])
        views += [mirrored] if len(mirrored) == len(images) else []
    groups = np.array([example.group or example.content_hash for example in images.examples])
    return head.fit(np.stack(views), images.targets, groups, len(context.labels), stop=context.should_stop)


def _in_words(rows: Mapping[str, float]) -> str:
    accuracy = rows.get("validation_accuracy")
    return "" if accuracy is None else f": {accuracy:.1%} of the validation images are right"
