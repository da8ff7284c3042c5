"""What the two networks of text reading must offer to be trained and exported."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

_NEVER = -1e4  # log-probability


@dataclass(frozen=True)
class Input:
    """How the pixels of an upright image (bytes) become the input of a network.

    The channels are brought into `order` and become (byte / 255 - mean) / deviation, each of these in that
    order. Both sides must be multiples of `multiple` pixels; `height` is the only height that the network
    takes, None if any will do.
    """

    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    multiple: int
    height: int | None = None

    def to_json(self) -> Mapping[str, Any]:
        """What the manifest says of it."""
        return {
            "order": self.order,
            "mean": list(self.mean),
            "deviation": list(self.deviation),
            "multiple": self.multiple,
            **({} if self.height is None else {"height": self.height}),
        }


class Detector(nn.Module):
    """Images (n, 3, h, w), normalised -> the probability of every pixel to lie in a text's kernel.

    A kernel is a text's outline shrunk as in DBNet (Liao et al., arXiv:1911.08947, section 3.4): moved
    inwards by area (1 - ratio^2) / perimeter, where the ratio is the network's own (see
    `plugins.ocr.trainer.kernels`).
    """

    input: Input

    @abstractmethod
    def logits(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 1, h, w) before the sigmoid; what a loss should be computed from."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 1, h, w), probabilities 0..1."""
        return self.logits(images).sigmoid()


class Recogniser(nn.Module):
    """Lines of text (n, 3, `input.height`, w), normalised -> log-probabilities for CTC.

    Class 0 is CTC's blank, class i is `characters[i - 1]`; the last character is the space. One step of the
    answer is `stride` pixels wide.

    The last layer may tell more apart than is answered: its rows behind those of `characters` are those of
    `forms`, other forms of them (small letters where the labels have capitals only), whose probability is
    added to theirs.
    """

    input: Input
    stride: int
    characters: tuple[str, ...]
    # For every class the rows that count as it, (classes, most of one class); None where each row is a class.
    rows_of: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, str] = {}
        self.register_buffer("rows_of", None, persistent=False)

    @property
    def height(self) -> int:
        """The height of a line in pixels."""
        assert self.input.height is not None
        return self.input.height

    @abstractmethod
    def logits(self, lines: Tensor) -> Tensor:
        """(n, 3, height, w) -> (n, w / stride, rows of the last layer), before the softmax."""

    def forward(self, lines: Tensor) -> Tensor:
        """(n, 3, height, w) -> (n, w / stride, 1 + characters), log-probabilities."""
        answers = self.logits(lines).log_softmax(2)
        if self.rows_of is None:
            return answers
        # A class of fewer rows than others is filled up with one that is never answered.
        never = torch.full_like(answers[..., :1], _NEVER)
        return torch.cat([answers, never], 2)[..., self.rows_of].logsumexp(3)

    @property
    def rows(self) -> tuple[str, ...]:
        """The characters that the rows of the last layer stand for; that of the blank is empty."""
        return ("", *self.characters, *self.forms)

    def stand_for(self, characters: tuple[str, ...], forms: Mapping[str, str]) -> None:
        """Say what the rows of the last layer are."""
        self.characters, self.forms, self.rows_of = characters, dict(forms), None
        if not forms:
            return
        places = {character: place for place, character in enumerate(characters, 1)}
        rows = [[place] for place in range(1 + len(characters))]
        for row, character in enumerate(forms.values(), len(rows)):
            rows[places[character]].append(row)
        most, never = max(len(some) for some in rows), len(self.rows)
        filled = [[*some, *[never] * (most - len(some))] for some in rows]
        self.rows_of = torch.tensor(filled, device=self.last_layer()[0].device)

    @abstractmethod
    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weight (rows, width) and bias (rows) of the last layer, as they are now."""

    @abstractmethod
    def replace_last_layer(self, weight: Tensor, bias: Tensor) -> None:
        """Put a last layer of other rows in its place."""
