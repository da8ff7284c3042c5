"""What of a network is trained, and how fast."""

from __future__ import annotations

import torch
from torch import nn

WEIGHT_DECAY = 1e-4
_LAST = 0.25  # share of the parameter tensors, those nearest to the answer, that are trained at first


def hold_statistics(network: nn.Module) -> None:
    """Normalise with the statistics of the pretrained network: those of a few lines or patches mislead."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def freeze(network: nn.Module) -> None:
    """Leave only the layers near the answer to be trained."""
    parameters = list(network.parameters())
    for parameter in parameters[: round((1 - _LAST) * len(parameters))]:
        parameter.requires_grad_(False)


def free(network: nn.Module) -> None:
    """Train all of it."""
    network.requires_grad_(True)


def adamw(network: nn.Module, rate: float) -> torch.optim.Optimizer:
    """AdamW over what is not frozen; biases and scales do not decay."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {
            "params": [parameter for parameter in trained if (parameter.dim() > 1) == decays],
            "lr": rate,
            "weight_decay": WEIGHT_DECAY * decays,
        }
        for decays in (False, True)
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=True)
