"""The pretrained networks that training starts from."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from plugins import weights
from plugins.classification.bases import lite, vision
from plugins.classification.bases.network import Network
from plugins.classification.catalogue import LITE0, LITE2, Base
from plugins.contract import TrainingContext
from plugins.weights import Places

__all__ = ["LITE0", "LITE2", "Base", "Network", "Places", "load", "places"]


def places(context: TrainingContext) -> Places:
    """Where this training may look for weights; PyTorch's own cache is among them."""
    return Places(context.weights, torch_cache(), context.offline)


def torch_cache() -> Path:
    """The folder into which torchvision itself downloads (`TORCH_HOME` decides)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def load(base: Base, classes: int, published: bytes | None = None) -> Network:
    """The network with pretrained weights and a last layer of zeros for `classes` classes.

    `published` is the file, its bytes checked (see `plugins.weights`); without it that of the installed
    package. Raises `PluginError` when the package is missing or its file is not the expected one.
    """
    data = weights.read(base, Places()) if published is None else published
    state: dict[str, Any] = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    model: Network
    if base.architecture == "efficientnet_lite":
        model = lite.from_published(base.width, base.depth, classes, state)
    else:
        model = vision.from_published(base.architecture, classes, state)
    return model.requires_grad_(True).to(memory_format=torch.channels_last)
