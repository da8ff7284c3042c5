"""Stage 1: the last layer on features of the pretrained network, ready within seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from plugins import fitting
from plugins.classification import head
from plugins.classification.bases import Network
from plugins.classification.cache import Images
from plugins.classification.trainer.inference import features, judged, rows_of
from plugins.contract import TrainingContext, TrainingStopped


@dataclass(frozen=True)
class Start:
    """How the first model came about: see `head.Head`. `out_of_fold` is empty where nothing was read."""

    strength: float
    share: float
    mirrored: bool
    out_of_fold: head.Floats
    excess: head.Floats

    def mistakes(self, targets: head.Targets) -> float | None:
        """The share of the images with these classes that cross-validation has wrong; None where nothing was
        read.
        """
        if len(self.out_of_fold) != len(targets):
            return None
        read = np.isfinite(self.out_of_fold).all(1)
        return float((self.out_of_fold[read].argmax(1) != targets[read]).mean()) if read.any() else None


def start(context: TrainingContext, network: Network, sides: Mapping[str, Images]) -> Start:
    """Put a fitted last layer into the network, or the one of an earlier attempt."""
    path = context.folder / "head.safetensors"
    started = time.monotonic()
    if path.is_file():
        tensors, record = fitting.read_checkpoint(path)
    else:
        fitted = fit_head(context, network, sides["train"])
        none = np.empty((0, len(context.labels)), np.float32)
        out_of_fold = none if fitted.out_of_fold is None else fitted.out_of_fold
        record = {"strength": fitted.strength, "share": fitted.share, "mirrored": fitted.mirrored}
        arrays = {"weight": fitted.weight, "bias": fitted.bias, "excess": fitted.excess}
        arrays["out_of_fold"] = out_of_fold
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        context.checkpoint()
        fitting.write_checkpoint(path, tensors, record)
    network.head.load_state_dict({name: tensors[name] for name in ("weight", "bias")})
    rows = rows_of(judged(context, network, sides["validation"]), sides["validation"])
    seconds = time.monotonic() - started
    context.fact("head_seconds", round(seconds, 1))
    for name, value in rows.items():
        context.report(name, value, epoch=0)
    context.log(f"A first model is ready after {seconds:.0f} s{_in_words(rows)}.")
    if not record["mirrored"]:
        context.log(
            "No mirror images take part: they do not keep their class here, or nothing shows that they do."
        )
    # An attempt begun by a release before this one took nothing from the scores.
    excess = tensors.get("excess", torch.zeros(len(context.labels)))
    return Start(out_of_fold=tensors["out_of_fold"].numpy(), excess=excess.numpy(), **record)


def fit_head(context: TrainingContext, network: Network, images: Images) -> head.Head:
    """Fit the last layer on features of the images and of their mirror images."""
    views = [features(context, network, images.plain)]
    if len(views[0]) < len(images):
        raise TrainingStopped("stopped before there was a model")
    if not context.should_stop():
        mirrored = features(context, network, images.plain[:, :, ::-1])
        views += [mirrored] if len(mirrored) == len(images) else []
    groups = np.array([example.group or example.content_hash for example in images.examples])
    return head.fit(
        np.stack(views),
        images.targets,
        groups,
        len(context.labels),
        lower=network.lower,
        stop=context.should_stop,
    )


def _in_words(rows: Mapping[str, float]) -> str:
    accuracy = rows.get("validation_accuracy")
    return "" if accuracy is None else f": {accuracy:.1%} of the validation images are right"
