"""What a network must offer to be trained and exported as a classifier."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Network(nn.Module):
    """Images as bytes in floats (batch, 3, side, side), 0 to 255, -> class scores before softmax.

    `head` is linear in the pooled features (batch, `head.in_features`), the first `lower` of which come from
    lower layers. With `both_ways` the network looks at the image and at its mirror image when it answers (not
    while it trains): its maps are the mean of both, the second one mirrored back.
    """

    head: nn.Linear
    lower: int = 0
    both_ways: bool = False

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

    def answered_maps(self, x: Tensor) -> Tensor:
        """The maps of the image, or of both ways to look at it."""
        if self.training or not self.both_ways:
            return self.maps(x)
        mirrored = self.maps(x.flip(3)).flip(3)
        return (self.maps(x) + mirrored) / 2

    def features(self, x: Tensor) -> Tensor:
        """(batch, 3, side, side) of 0..255 -> pooled features (batch, width)."""
        return self.pool(self.answered_maps(x))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, side, side) of 0..255 -> (batch, classes)."""
        scores: Tensor = self.head(self.features(x))
        return scores
