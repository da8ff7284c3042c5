"""Rendered pages with text for tests, and networks small enough to train in seconds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from plugins.contract import Example, Previous, Region, Split
from plugins.ocr.bases.network import Detector, Input, Recogniser
from plugins.ocr.params import OcrParams
from tests.plugins.context import MemoryContext

_HALF = (0.5, 0.5, 0.5)


def page(number: int, split: Split = "train", turned: bool = False) -> tuple[Example, bytes]:
    """A white page of 240 x 120 pixels with two lines; `turned` stands them upside down in their boxes."""
    image = Image.new("RGB", (240, 120), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(20)
    regions = []
    for place, text in enumerate((f"A{number}7", f"B {number}")):
        left, top = 20 + 5 * number, 15 + 55 * place
        draw.text((left, top), text, "black", font=font)
        box = draw.textbbox((left, top), text, font=font)
        points = ((box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3]))
        corners = points[2:] + points[:2] if turned else points
        regions.append(Region(tuple((float(x), float(y)) for x, y in corners), text))
    stream = BytesIO()
    image.save(stream, "PNG")
    data = stream.getvalue()
    digest = hashlib.sha256(data).hexdigest()
    found = Example(
        f"{split}-{number}.png", "e", len(data), digest, split, regions=tuple(regions), width=240, height=120
    )
    return found, data


def context_of(
    folder: Path, made: Sequence[tuple[Example, bytes]], params: OcrParams, previous: Previous | None = None
) -> MemoryContext:
    """A training of a reader on these pages."""
    return MemoryContext(
        folder=folder,
        params=params,
        labels=(),
        snapshot=[one for one, _ in made],
        data={one.key: data for one, data in made},
        algorithm="ocr-high-performance",
        previous=previous,
        threads=2,
    )


class TinyDetector(Detector):
    """Three convolutions."""

    input = Input("bgr", _HALF, _HALF, 32)

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(8, 8, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(8, 1, 1),
        )

    def logits(self, images: Tensor) -> Tensor:
        answer: Tensor = self.body(images)
        return answer


class TinyRecogniser(Recogniser):
    """Two convolutions over slices of 8 pixels."""

    input = Input("bgr", _HALF, _HALF, 8, 48)
    stride = 8

    def __init__(self, characters: tuple[str, ...]) -> None:
        super().__init__()
        self.characters = characters
        self.body = nn.Sequential(nn.Conv2d(3, 32, (48, 8), stride=(48, 8)), nn.BatchNorm2d(32), nn.ReLU())
        self.last: nn.Linear = nn.Linear(32, len(characters) + 1)

    def logits(self, lines: Tensor) -> Tensor:
        answer: Tensor = self.last(self.body(lines)[:, :, 0].transpose(1, 2))
        return answer

    def last_layer(self) -> tuple[nn.Parameter, nn.Parameter]:
        weight, bias = self.last.parameters()
        return weight, bias

    def replace_last_layer(self, weight: Tensor, bias: Tensor) -> None:
        self.last = nn.Linear(weight.shape[1], len(weight))
        with torch.no_grad():
            self.last.weight.copy_(weight)
            self.last.bias.copy_(bias)
