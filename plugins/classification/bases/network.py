"""What a network must offer to be trained and exported as a classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Network(nn.Module):
    """Images as bytes in floats (batch, 3, side, side), 0 to 255, -> class scores before softmax.

    `head` is linear in the pooled features (batch, `head.in_features`).
    """

    head: nn.Linear

    @abstractmethod
    def maps(self, x: Tensor) -> Tensor:
        """(batch, 3, side, side) of 0..255 -> the last feature maps (batch, channels, height, width)."""

    def pool(self, maps: Tensor) -> Tensor:
        """Feature maps -> pooled features (batch, width): their mean unless the architecture does more."""
        pooled: Tensor = maps.mean((2, 3))
        return pooled

    @abstractmethod
    def layers(self) -> Sequence[nn.Module]:
        """All parts but the head, from the input on: those near the input are trained more slowly."""

    def features(self, x: Tensor) -> Tensor:
        """(batch, 3, side, side) of 0..255 -> pooled features (batch, width)."""
        return self.pool(self.maps(x))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, side, side) of 0..255 -> (batch, classes)."""
        scores: Tensor = self.head(self.features(x))
        return scores
