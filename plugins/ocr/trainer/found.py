"""Texts in the boxes that a detector finds: the recogniser learns to read these, too, since it will be given
no others.
"""

from __future__ import annotations

import numpy as np

from plugins.contract import Example, Region
from plugins.ocr import direction, geometry
from plugins.ocr.matching import IOU
from plugins.ocr.text import normalise
from plugins.ocr.trainer.pages import Text

_COVERED = 0.85  # share of a marked region's area: a box that cuts letters off would teach to invent them
_FILLED = 0.5  # share of a box of several texts that is theirs
_ASIDE = 0.5  # of their height: how far across the line texts side by side may lie apart


def texts_in(page: int, example: Example, boxes: geometry.Quads) -> list[Text]:
    """The boxes (n, 4, 2), in pixels of the upright image, that hold marked regions wholly and no part of
    others, with what stands there, their corners in the order of the regions' as a box that is found does not
    say how its text is read; several regions have to lie side by side. What stands in regions that are
    ignored or have no text is not known: a box that holds a part of one would teach to leave it out.
    """
    said = [one for one in example.regions if _is_said(one)]
    marked = geometry.quads([*said, *(one for one in example.regions if not _is_said(one))])
    shared = geometry.intersections(boxes, marked)
    covered = shared / np.maximum(geometry.areas(marked), 1e-9)[None]
    filled = shared.sum(1) / np.maximum(geometry.areas(boxes), 1e-9)
    overlap = geometry.overlaps(boxes, marked)
    found = []
    for box, corners in enumerate(boxes):
        inside = np.flatnonzero(covered[box] > 1 - _COVERED)
        unsaid = len(inside) and inside[-1] >= len(said)
        if not len(inside) or unsaid or (covered[box][inside] < _COVERED).any():
            continue
        if len(inside) == 1 and overlap[box, inside[0]] < IOU:
            continue
        read = _like(marked[inside[0]], corners)
        order = _side_by_side(read, marked[inside]) if len(inside) > 1 else [0]
        if order and (len(inside) == 1 or filled[box] >= _FILLED):
            words = [direction.turned(normalise(said[inside[place]].text or "")) for place in order]
            found.append(Text(page, read, direction.turned(" ".join(words))))
    return found


def _is_said(region: Region) -> bool:
    return not region.ignored and bool(normalise(region.text or ""))


def _like(marked: geometry.Quads, box: geometry.Quads) -> geometry.Quads:
    """The corners of the box (4, 2) beginning so that its first side runs as that of the marked text does."""
    along = np.roll(box, -1, axis=0) - box
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    return np.roll(box, -int((along @ (marked[1] - marked[0])).argmax()), axis=0)


def _side_by_side(box: geometry.Quads, marked: geometry.Quads) -> list[int]:
    """The texts (n, 4, 2) of a box along its first side; none if some lie above others."""
    width, height = geometry.sides(box)
    along = (box[1] - box[0]) / max(width, 1e-6)
    across = (box[3] - box[0]) / max(height, 1e-6)
    middles = marked.mean(1) - box.mean(0)
    heights = [geometry.sides(one)[1] for one in marked]
    if np.ptp(middles @ across) > _ASIDE * min(heights):
        return []
    return [int(place) for place in np.argsort(middles @ along, kind="stable")]
