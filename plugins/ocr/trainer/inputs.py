"""Pixels as the networks want them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from plugins.ocr.augment import Pixels
from plugins.ocr.bases.network import Input


def normalised(rows: Pixels, wanted: Input) -> Tensor:
    """Blue, green and red bytes (n, height, width, 3) -> (n, 3, height, width)."""
    if wanted.order == "rgb":
        rows = np.ascontiguousarray(rows[..., ::-1])
    scale = 1 / (255 * np.asarray(wanted.deviation, np.float32))
    shift = -np.asarray(wanted.mean, np.float32) / np.asarray(wanted.deviation, np.float32)
    x = torch.from_numpy(rows).permute(0, 3, 1, 2).float()
    return x * torch.from_numpy(scale)[:, None, None] + torch.from_numpy(shift)[:, None, None]
