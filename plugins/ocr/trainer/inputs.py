"""Pixels as the networks want them: as they will be served."""

from __future__ import annotations

import torch
from torch import Tensor

from plugins.ocr.augment import Pixels
from plugins.ocr.bases.network import Input
from plugins.ocr.predictor import network


def normalised(rows: Pixels, wanted: Input) -> Tensor:
    """Blue, green and red bytes (n, height, width, 3) -> (n, 3, height, width)."""
    return torch.from_numpy(network.Input(wanted.to_json()).normalised(rows))
