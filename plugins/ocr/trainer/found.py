"""Texts in the boxes that a detector finds: the recogniser learns to read these, too, since it will be given
no others.
"""

from __future__ import annotations

import numpy as np

from plugins.contract import Example
from plugins.ocr import geometry
from plugins.ocr.matching import IOU
from plugins.ocr.text import normalise
from plugins.ocr.trainer.pages import Text

_COVERED = 0.85  # share of the marked region's area: a box that cuts letters off would teach to invent them


def texts_in(page: int, example: Example, boxes: geometry.Quads) -> list[Text]:
    """The boxes (n, 4, 2), in pixels of the upright image, that hold the text of a marked region and of no
    other, with that text.
    """
    regions = [one for one in example.regions if not one.ignored and normalise(one.text or "")]
    marked = geometry.quads(regions)
    overlap = geometry.overlaps(boxes, marked)
    covered = geometry.intersections(boxes, marked) / np.maximum(geometry.areas(marked), 1e-9)[None]
    fits = (overlap >= IOU) & (covered >= _COVERED)
    alone = (covered > 1 - _COVERED).sum(1) == 1  # no letters of a neighbour either
    return [
        Text(page, boxes[box], normalise(regions[place].text or ""))
        for box, place in zip(*(places.tolist() for places in np.nonzero(fits & alone[:, None])), strict=True)
    ]
