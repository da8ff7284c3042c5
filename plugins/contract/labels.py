"""What is known of an image, and an image with its label in a frozen snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Split = Literal["train", "validation", "test"]


Point = tuple[float, float]


@dataclass(frozen=True)
class Region:
    """One marked place of an image, as a rule a line or word of text.

    `points` are pixels of the upright image (EXIF orientation applied), x to the right and y down, fractions
    of a pixel allowed. A `rectangle` has four: upper left, upper right, lower right, lower left in reading
    direction, so that a rotated one starts where its text starts; a `polygon` has three or more, in order.
    `text` is None where nobody has transcribed it yet. `label` is the kind of region (Text, Handwriting), or
    empty. `ignored` regions (illegible, difficult) are neither learned from nor counted. `id` is stable
    within its image, or empty. `extra` holds JSON values that the format it came from wants back.
    """

    points: tuple[Point, ...]
    text: str | None = None
    label: str = ""
    shape: Literal["rectangle", "polygon"] = "rectangle"
    ignored: bool = False
    id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """What is known about one image: a class name, or text regions (none of them: an image without text)."""

    name: str | None = None
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class Example:
    """One labelled image of a frozen snapshot. `label` is a class name; `regions` are for OCR.

    `content_hash` is the sha256 of the bytes in hex; `size` their number; `group` names near-duplicates
    that stand on one side of the split. `width` and `height` are pixels of the upright image (0: not known).
    """

    key: str
    etag: str
    size: int
    content_hash: str
    split: Split
    label: str | None = None
    regions: tuple[Region, ...] = ()
    group: str = ""
    width: int = 0
    height: int = 0
