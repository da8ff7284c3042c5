"""Going on from the model before: its features and its last layer, where they are the better start.

When images or classes were added, most of what the last training learned still holds. Both starts are judged
on the validation images, none of which the model before has trained on: the pretrained network with its
fitted last layer, and the network of the model before. What is better is trained on, the model before also
where it is only less sure, and stays where training makes it clearly worse (see `trainer.choice`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from plugins import fitting
from plugins.classification.bases import Base, Network
from plugins.classification.cache import Images
from plugins.classification.trainer.choice import is_only_less_sure
from plugins.classification.trainer.finetune import RECIPE, Recipe
from plugins.classification.trainer.inference import judged
from plugins.classification.trainer.start import fit_head
from plugins.contract import Previous, TrainingContext, TrainingStopped
from plugins.previous import Unfit, say_or_refuse

WEIGHTS = "weights.safetensors"
_RECORD = "previous.safetensors"
_EFFORT = 2.0  # an image that is new earns this many times the views that it had in a training from the start
_RATE = 2e-4  # highest learning rate: what holds already shall not be shaken


def take_over(
    context: TrainingContext, network: Network, base: Base, sides: Mapping[str, Images]
) -> Recipe | None:
    """Put the weights of the previous model into the network if they are a better start than what it holds.

    `network` holds the pretrained weights and a fitted last layer. The recipe to train on with, shorter the
    less is new; None when the network was left as it is. Another attempt at the task takes the same start.

    Raises `PluginError` (`previous_differs`) when the user named a model that does not fit.
    """
    previous = context.previous
    if previous is None:
        return None
    path = context.folder / _RECORD
    try:
        if context.params.fine_tune and not previous.parameters.get("fine_tune", True):
            raise Unfit("was trained without fine-tuning")
        other = _network_of(previous, network, base)
        if path.is_file():
            layer, record = fitting.read_checkpoint(path)
        else:
            layer, record = _choose(context, network, other, previous, sides)
            context.checkpoint()
            fitting.write_checkpoint(path, layer, record)
    except Unfit as reason:
        say_or_refuse(context, previous, base.name, reason)
        return None
    if not record["taken"]:
        return None
    other.head = copy.deepcopy(network.head)
    other.head.load_state_dict(layer)
    network.load_state_dict(other.state_dict())
    new = is_new(previous, sides["train"])
    context.fact("new_images", int(new.sum()))
    return recipe_for(RECIPE, len(new), int(new.sum()))


def is_new(previous: Previous, images: Images) -> npt.NDArray[np.bool_]:
    """Which images the previous model has not learned from, or under another label: (images)."""
    known = previous.trained
    return np.array(
        [known.get(one.content_hash, "") != one.label for one in images.examples], dtype=np.bool_
    ).reshape(len(images))


def recipe_for(recipe: Recipe, images: int, new: int) -> Recipe:
    """How to go on when `new` of the images are new: the views are the recipe's times twice the new share,
    the learning rates low, one round, and three epochs without a better score are its end.
    """
    share = min(1.0, _EFFORT * new / max(images, 1))
    return replace(
        recipe,
        views=round(recipe.views * share),
        rounds=1,
        rate=_RATE,
        head_rate=_RATE * recipe.head_rate / recipe.rate,
        least_epochs=3,
        patience=3,
        part_way=False,  # models of models would grow less sure each time
    )


def _network_of(previous: Previous, like: Network, base: Base) -> Network:
    """The previous model's network, with its own last layer. Raises `Unfit`."""
    if previous.base.get("sha256") != base.sha256:
        raise Unfit(
            f"was made from {previous.base.get('name', 'another network')}, this one from {base.name}"
        )
    labels = previous.model.get("labels") or []
    other = copy.deepcopy(like)
    other.head = nn.Linear(like.head.in_features, len(labels)).to(like.head.weight.device)
    try:
        other.load_state_dict(safetensors.torch.load_file(previous.folder / WEIGHTS))
    except FileNotFoundError:
        raise Unfit(f"has no {WEIGHTS}") from None
    except (RuntimeError, safetensors.SafetensorError):
        raise Unfit("holds the weights of another network") from None
    return other.eval()


def _choose(
    context: TrainingContext,
    network: Network,
    other: Network,
    previous: Previous,
    sides: Mapping[str, Images],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The best last layer for the previous model's features, and whether the two beat the network."""
    validation = sides["validation"]
    fresh = judged(context, network, validation)
    best, layer, chosen = np.inf, dict(network.head.state_dict()), None
    for candidate in _layers(context, other, previous, sides["train"]):
        tried = copy.deepcopy(other)
        tried.head = copy.deepcopy(network.head)
        tried.head.load_state_dict(candidate)
        judgement = judged(context, tried, validation)
        if judgement.log_loss < best:
            best, layer, chosen = judgement.log_loss, candidate, judgement
    taken = best <= fresh.log_loss or (chosen is not None and is_only_less_sure(chosen, fresh))
    if chosen is not None:
        context.log(
            f"Of {len(validation)} validation images model {previous.name} has {chosen.accuracy:.1%} right "
            f"(log loss {best:.3f}), a new start {fresh.accuracy:.1%} ({fresh.log_loss:.3f}): "
            f"training goes on from {'the model' if taken else 'the new start'}."
        )
    return layer, {"taken": bool(taken)}


def _layers(
    context: TrainingContext, other: Network, previous: Previous, images: Images
) -> list[dict[str, Tensor]]:
    """Last layers for the features of the previous model: fitted again on all images, and its own, in which
    only the classes that it does not know have what was fitted.
    """
    places = {label: row for row, label in enumerate(previous.model["labels"])}
    known = [(row, places[label]) for row, label in enumerate(context.labels) if label in places]
    try:
        fitted = fit_head(context, other, images)
    except TrainingStopped:
        context.should_stop()  # raises again when nothing is to be kept
        if len(known) < len(context.labels):
            return []
        weight, bias = torch.zeros(len(known), other.head.in_features), torch.zeros(len(known))
        layers: list[dict[str, Tensor]] = []
    else:
        weight, bias = torch.from_numpy(fitted.weight), torch.from_numpy(fitted.bias)
        layers = [{"weight": weight, "bias": bias}]
    if not known:
        return layers
    rows, old = (list(numbers) for numbers in zip(*known, strict=True))
    own = torch.cat([other.head.weight, other.head.bias[:, None]], 1).detach().cpu()[old]
    both = torch.cat([weight, bias[:, None]], 1)
    if len(known) < len(both):  # softmax knows differences only: bring the two layers to one level and scale
        there = both[rows] - both[rows].mean(0)
        own = own - own.mean(0)
        own = own * (there.norm() / own.norm().clamp(min=1e-9)) + both[rows].mean(0)
    both[rows] = own
    return [{"weight": both[:, :-1].contiguous(), "bias": both[:, -1].contiguous()}, *layers]
