"""The snapshot's images with their text regions, decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median

import cv2
import numpy as np

from plugins import images
from plugins.contract import Example, Split, TrainingContext
from plugins.images import Decoded
from plugins.ocr import geometry
from plugins.ocr.augment import Pixels
from plugins.ocr.predictor import Sides
from plugins.ocr.text import is_of_lines, normalise
from plugins.spread import spread

# Heights in pixels: of a usual text, up to which images are enlarged, and of the smallest image looked at. On
# cable sleeves, whose letters fill a third of the image, 288 pixels find more than 544 do, in less time.
_TALL, _SMALLEST = 100.0, 288
# The same of small texts on large images: in which three quarters of them are seen at least, if the longer
# side of the image has no more pixels than that; looking at a page takes as long as its area says.
_LEGIBLE, _OF_THEM, _LARGEST = 16.0, 0.75, 8_000


@dataclass(frozen=True)
class Pages:
    """The examples of one side, and how to read them."""

    examples: Sequence[Example]
    read: Callable[[Example], bytes]

    def __len__(self) -> int:
        return len(self.examples)

    def decoded(self, place: int, wanted_side: int | None = None) -> Decoded:
        """The image at this place, as a service would see it. Raises `ImageError`."""
        return images.decode(self.read(self.examples[place]), wanted_side=wanted_side, limits=images.CHECKED)

    def pixels(self, place: int, scale: float = 1.0) -> tuple[Pixels, float]:
        """Blue, green and red (height, width, 3), and their size as a share of the upright original: JPEGs
        that are needed at a fraction of their size are read faster so.
        """
        example = self.examples[place]
        shorter = min(example.width, example.height)
        wanted = max(1, round(shorter * scale * 1.3)) if scale < 0.5 and shorter else None
        decoded = self.decoded(place, wanted)
        pixels = cv2.cvtColor(np.asarray(decoded.image), cv2.COLOR_RGB2BGR)
        return np.asarray(pixels, np.uint8), decoded.image.width / decoded.width

    def some(self, most: int) -> Pages:
        """At most so many of them, evenly spread."""
        if len(self) <= most:
            return self
        chosen = spread(len(self), max(most, 1)).tolist()
        return Pages([self.examples[place] for place in chosen], self.read)

    def telling(self, texts: int, most: int) -> Pages:
        """As many as hold about so many texts, evenly spread; at most `most`."""
        count = sum(len(example.regions) for example in self.examples)
        return self.some(min(most, max(1, round(len(self) * texts / max(count, 1)))))


@dataclass(frozen=True)
class Text:
    """One text to learn to read: on which page, its corners in reading order (4, 2) in pixels of the upright
    image, and what it says (normalised).
    """

    page: int
    corners: geometry.Quads
    text: str


def pages(context: TrainingContext, split: Split) -> Pages:
    """One side of the snapshot. Regions with a text of several lines are ignored, which the log says: as one
    line they would teach to read and to find what is none.
    """
    found, count = [], 0
    for example in context.examples(split):
        lines = [is_of_lines(region.text) and not region.ignored for region in example.regions]
        count += sum(lines)
        regions = zip(example.regions, lines, strict=True)
        kept = tuple(replace(one, ignored=True) if several else one for one, several in regions)
        found.append(replace(example, regions=kept) if any(lines) else example)
    if count:
        context.log(
            f"{count} regions of {split} images hold several lines and are left out: mark each line alone."
        )
    return Pages(found, context.read)


def sides_for(side: Pages) -> Sides:
    """How large these images should be looked at: as usual, but without enlarging small ones, such as labels
    photographed from near, until their letters are far larger than any that the networks have learned from,
    and without reducing large ones, such as drawings, until their letters are illegible.
    """
    texts = [
        (max(min(geometry.sides(geometry.quad(region.points))), 1.0), example.width, example.height)
        for example in side.examples
        if example.width and example.height
        for region in example.regions
        if not region.ignored
    ]
    usual = Sides()
    if not texts:
        return usual
    share = median(tall / min(width, height) for tall, width, height in texts)
    longer = np.quantile(
        [min(_LEGIBLE / tall, 1.0) * max(width, height) for tall, width, height in texts], _OF_THEM
    )
    return Sides(
        int(np.clip(_TALL / share, _SMALLEST, usual.least)), int(np.clip(longer, usual.most, _LARGEST))
    )


def in_the_time(count: int, sides: Sides) -> int:
    """How many images are looked at in about the time that `count` of the usual largest size take."""
    return max(1, round(count * (Sides().most / sides.most) ** 2))


def texts(side: Pages) -> list[Text]:
    """All that is transcribed and not ignored."""
    return [
        Text(place, geometry.quad(region.points), normalised)
        for place, example in enumerate(side.examples)
        for region in example.regions
        if not region.ignored and (normalised := normalise(region.text or ""))
    ]
