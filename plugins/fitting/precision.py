"""Mixed precision: which numbers a step is computed in, and the scaling that float16 needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

Half = torch.dtype | None


@dataclass(frozen=True)
class Precision:
    """The way to compute on a device: in `half` where it says so, else in float32.

    The normal numbers of float16 end at 6e-5, below which gradients lose their digits: the loss is scaled up
    before the backward pass and the gradients down after it (Micikevicius et al., arXiv:1710.03740). bfloat16
    reaches as far as float32 and needs none of it.
    """

    device: str
    half: Half

    def autocast(self) -> torch.autocast:
        """The region in which a forward pass runs."""
        return torch.autocast(self.device, self.half or torch.bfloat16, enabled=self.half is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses and gradients; one that does nothing unless the numbers are float16."""
        return torch.amp.GradScaler(self.device, enabled=self.half is torch.float16)


def precision_of(device: str) -> Precision:
    """Half precision where it is faster: on GPUs, bfloat16 if they compute in it and else float16. On CPUs it
    is left off: without matrix units for it a training step took 10 times longer, and float32 with folded
    normalisation is fast.
    """
    if device != "cuda":
        return Precision(device, None)
    # Older GPUs accept bfloat16 but emulate it, which is slow.
    native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Precision(device, torch.bfloat16 if native else torch.float16)


def autocast(device: str) -> torch.autocast:
    """The region in which a forward pass on this device runs."""
    return precision_of(device).autocast()
