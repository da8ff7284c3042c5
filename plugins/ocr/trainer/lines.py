"""Texts cut out of their pages: pictures of one line each, kept on disk with a margin around them.

The margin is there so that every view in training can begin and end a little elsewhere, as boxes do that were
drawn by hand or found by a detector.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from plugins.fitting.checkpoint import whole_file
from plugins.images import ImageError
from plugins.ocr import geometry
from plugins.ocr.augment import Pixels
from plugins.ocr.predictor.lines import along_the_line
from plugins.ocr.trainer.pages import Pages, Text

LONGEST = 50  # times its height: longer lines are squeezed
_KEPT = 56  # height in pixels in which texts are kept, without their margin
_MARGIN = 0.25  # of the height, on each side
_STRETCHED = 1.5


@dataclass(frozen=True)
class Shape:
    """What a recogniser sees of a line: its `height` in pixels, and the pixels in width for each answer."""

    height: int
    stride: int

    def width_of(self, corners: geometry.Quads, text: str) -> int | None:
        """The width in pixels in which a line is read, a multiple of the stride; None where the text has more
        characters than a crop half as wide again gives answers for (equal neighbours need one between them).
        """
        width, height = geometry.sides(corners)
        if width < 1 or height < 1:
            return None
        steps = max(2, round(self.height * min(width / height, LONGEST) / self.stride))
        needed = len(text) + sum(one == other for one, other in pairwise(text))
        return None if needed > _STRETCHED * steps else self.stride * max(steps, needed)


@dataclass
class Lines:
    """The pictures of some texts in a file; `turned` says which are to be read upside down."""

    path: Path
    shape: Shape
    texts: list[str] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    places: list[tuple[int, int]] = field(default_factory=list)
    turned: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    too_long: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.texts)

    def picture(self, place: int) -> tuple[Pixels, npt.NDArray[np.float32]]:
        """The picture with its margin (height, width, 3), and the corners of the text in it (4, 2), from
        where its reading begins.
        """
        start, size = self.places[place]
        with self.path.open("rb") as stream:
            data = os.pread(stream.fileno(), size, start)
        picture = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
        height, width = picture.shape[:2]
        margin = _KEPT * _MARGIN
        corners = np.array(
            [
                [margin, margin],
                [width - margin, margin],
                [width - margin, height - margin],
                [margin, height - margin],
            ],
            np.float32,
        )
        return picture, np.roll(corners, 2 if self.turned[place] else 0, axis=0)


def keep(lines: Lines) -> None:
    """Write beside the file of pictures what they are, for whoever works on the same training: a second
    attempt, or another process. Raises `PluginError` (`disk_full`).
    """
    record = {name: getattr(lines, name) for name in ("texts", "widths", "pages", "places", "too_long")}
    content = json.dumps({**record, "turned": lines.turned.tolist()})
    with whole_file(_index(lines.path)) as stream:
        stream.write(content.encode())


def kept(path: Path, shape: Shape) -> Lines | None:
    """What `keep` wrote for that file, None if it did not."""
    if not _index(path).is_file():
        return None
    record = json.loads(_index(path).read_text(encoding="utf-8"))
    turned = np.array(record.pop("turned"), np.bool_)
    places = [(start, size) for start, size in record.pop("places")]
    return Lines(path, shape, places=places, turned=turned, **record)


def _index(path: Path) -> Path:
    return path.with_suffix(".json")


def cut(side: Pages, texts: Sequence[Text], path: Path, shape: Shape, stop: Callable[[], bool]) -> Lines:
    """Cut the texts out of their pages and write them to a file; those that no crop can hold stay out, and
    so do those of the pages that were not reached before the stop: any of them, as their order is a random
    one.
    """
    lines, by_page = Lines(path, shape), defaultdict(list)
    for text in texts:
        by_page[text.page].append(text)
    with path.open("wb") as stream:
        for page in np.random.default_rng(len(by_page)).permutation(sorted(by_page)).tolist():
            if stop():
                break
            try:
                pixels, share = side.pixels(page)
            except ImageError:  # it was read when the snapshot was made; the next one may be readable
                continue
            for text in by_page[page]:
                _add(lines, stream.write, pixels, text, share)
    ends = np.cumsum([size for _, size in lines.places]).tolist()
    lines.places = [(end - size, size) for end, (_, size) in zip(ends, lines.places, strict=True)]
    lines.turned = np.zeros(len(lines), np.bool_)
    return lines


def _add(lines: Lines, write: Callable[[bytes], int], pixels: Pixels, text: Text, share: float) -> None:
    corners = along_the_line(text.corners * np.float32(share))
    width = lines.shape.width_of(corners, text.text)
    if width is None:
        lines.too_long.append(text.text)
        return
    picture = _with_margin(pixels, corners)
    coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    write(coded)
    lines.texts.append(text.text)
    lines.widths.append(width)
    lines.pages.append(text.page)
    lines.places.append((0, len(coded)))


def _with_margin(pixels: Pixels, corners: geometry.Quads) -> Pixels:
    """A large text is first cut out at a whole multiple of its size and then averaged, as it is to be served:
    thin strokes between the pixels that are looked at would be lost.
    """
    width, height = geometry.sides(corners)
    across = max(1, round(_KEPT * min(width / height, LONGEST)))
    margin = round(_KEPT * _MARGIN)
    factor = max(1, int(height / _KEPT))
    target = np.array([[0, 0], [across, 0], [across, _KEPT], [0, _KEPT]], np.float32) + np.float32(margin)
    size = (across + 2 * margin, _KEPT + 2 * margin)
    part, low = geometry.around(pixels, corners, _MARGIN * height)
    matrix = cv2.getPerspectiveTransform((corners - low).astype(np.float32), target * np.float32(factor))
    whole = (size[0] * factor, size[1] * factor)
    seen = cv2.warpPerspective(part, matrix, whole, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if factor > 1:
        seen = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
    return np.asarray(seen, np.uint8)
