"""The order in which texts are read.

Lines from top to bottom, within a line from left to right, or from right to left where more letters are of
scripts that are written so; of a line without letters the whole page decides, as it does of columns. Texts
stand on one line when they overlap by half of the lower one's height, seen along the page's own slant. A page
is first divided into columns where an empty strip runs down between two blocks that both look like running
text (four lines or more, each half of them nearly as wide as the block, both blocks broad and of like width);
the columns of tables, receipts and forms do not, so those are read row by row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Quads = npt.NDArray[np.float32]
Boxes = npt.NDArray[np.float64]  # (n, 4): left, top, right, bottom

_OVERLAP = 0.5
_GAP = 1.0  # times the median height of a line: the least width of the strip between two columns
_LEAST_LINES = 4
_BROAD = 6.0  # times the median height of a line: the least width of a column
_LIKE = 0.4  # the narrower column's share of the wider one's width
_FILLED = 0.75  # share of a column's width that half of its lines have at least
_DEEPEST = 4


def reading_order(corners: Quads, leans: Sequence[int] | None = None) -> list[int]:
    """The places of the texts (n, 4, 2), their first sides as they are read, in reading order; where most are
    read downwards, upwards or upside down, that of the page turned upright. `leans` (n) says how many letters
    of each are written from the right, less those that are not.
    """
    if len(corners) < 2:
        return list(range(len(corners)))
    boxes = _upright(corners.astype(np.float64))
    letters = np.zeros(len(boxes), np.int64) if leans is None else np.asarray(leans, np.int64)
    mirrored = bool(letters.sum() > 0)
    if mirrored:  # columns from the right are those of the page's mirror image from the left
        boxes = _mirrored(boxes)
    order: list[int] = []
    for block in _blocks(boxes, np.arange(len(boxes)), 0):
        for row in _rows(boxes, block):
            own = int(letters[row].sum())
            against = own != 0 and (own > 0) != mirrored
            seen = _mirrored(boxes) if against else boxes
            order += sorted(row, key=lambda place: float(seen[place, 0]))
    assert len(order) == len(corners)
    return order


def _upright(corners: npt.NDArray[np.float64]) -> Boxes:
    """The bounding boxes after the page is turned back: by its slant (that of most of its text), and by the
    quarter turns by which more than half of its text is read, as where a page was photographed from the side.
    """
    along = corners[:, 1] - corners[:, 0]
    lengths = np.linalg.norm(along, axis=1)
    angles = np.arctan2(along[:, 1], along[:, 0])
    quarters = np.round(angles / (np.pi / 2)).astype(int) % 4
    shares = np.bincount(quarters, lengths, minlength=4)
    quarter = int(shares.argmax()) if shares.max() > shares.sum() / 2 else 0
    angles = (angles + np.pi / 4) % (np.pi / 2) - np.pi / 4  # text in other directions slants as well
    order = np.argsort(angles)
    slant = angles[order][np.searchsorted(lengths[order].cumsum(), lengths.sum() / 2).clip(0, len(order) - 1)]
    back = slant + quarter * np.pi / 2
    turn = np.array([[np.cos(back), -np.sin(back)], [np.sin(back), np.cos(back)]])
    turned = corners @ turn
    return np.concatenate([turned.min(1), turned.max(1)], 1)


def _blocks(boxes: Boxes, places: npt.NDArray[np.intp], depth: int) -> Iterator[npt.NDArray[np.intp]]:
    """Columns, where there are any. What spans both columns divides the page into what is above and below."""
    cut = _column_gap(boxes, places) if depth < _DEEPEST and len(places) >= 2 * _LEAST_LINES else None
    if cut is None:
        yield places
        return
    across = (boxes[places, 0] < cut) & (boxes[places, 2] > cut)
    spanning, rest = places[across], places[~across]
    above = -np.inf
    middles = boxes[:, 1::2].mean(1)
    # What stands exactly beside one that spans both columns is read before it.
    for end in [*np.unique(middles[spanning]).tolist(), np.inf]:
        inside = rest[(middles[rest] > above) & (middles[rest] <= end)]
        for side in (boxes[inside, 2] <= cut, boxes[inside, 0] >= cut):
            if side.any():
                yield from _blocks(boxes, inside[side], depth + 1)
        if np.isfinite(end):
            yield spanning[middles[spanning] == end]
        above = end


def _column_gap(boxes: Boxes, places: npt.NDArray[np.intp]) -> float | None:
    """The middle of an empty strip between two blocks of running text; a tenth of the texts may span it."""
    some = boxes[places]
    height = float(np.median(some[:, 3] - some[:, 1]))
    narrow = some[np.argsort(some[:, 2] - some[:, 0])][: max(1, int(len(some) * 0.9))]
    starts = np.sort(narrow[:, 0])
    ends = np.maximum.accumulate(narrow[np.argsort(narrow[:, 0]), 2])
    gaps = starts[1:] - ends[:-1]
    for place in np.argsort(-gaps).tolist():
        if gaps[place] < _GAP * height:
            return None
        cut = float(starts[place + 1] + ends[place]) / 2
        blocks = [narrow[narrow[:, 2] <= cut], narrow[narrow[:, 0] >= cut]]
        if _running_text(blocks, height):
            return cut
    return None


def _running_text(blocks: Sequence[Boxes], height: float) -> bool:
    widths = [float(block[:, 2].max() - block[:, 0].min()) for block in blocks]
    if min(widths) < max(_BROAD * height, _LIKE * max(widths)):
        return False
    filled = [
        float(np.median(block[:, 2] - block[:, 0])) >= _FILLED * width
        for block, width in zip(blocks, widths, strict=True)
    ]
    return all(filled) and min(len(block) for block in blocks) >= _LEAST_LINES


def _mirrored(boxes: Boxes) -> Boxes:
    """Left and right exchanged."""
    return np.stack([-boxes[:, 2], boxes[:, 1], -boxes[:, 0], boxes[:, 3]], 1)


def _rows(boxes: Boxes, places: npt.NDArray[np.intp]) -> Iterator[list[int]]:
    """The texts of each row. One much higher than the others (that runs downwards) stands where it begins."""
    tops, bottoms = boxes[places, 1], boxes[places, 3]
    usual = float(np.median(bottoms - tops))
    bottoms = np.minimum(bottoms, tops + 3 * usual)
    order = np.argsort((tops + bottoms) / 2, kind="stable")
    rows: list[list[int]] = []
    lines: list[tuple[float, float]] = []
    for one in order.tolist():
        top, bottom = tops[one], bottoms[one]
        if lines:
            line_top, line_bottom = lines[-1]
            shared = min(bottom, line_bottom) - max(top, line_top)
            if shared >= _OVERLAP * min(bottom - top, line_bottom - line_top):
                count = len(rows[-1])
                rows[-1].append(one)
                # The mean of the row: it follows a slant, and one high text does not stretch it.
                lines[-1] = (
                    (line_top * count + top) / (count + 1),
                    (line_bottom * count + bottom) / (count + 1),
                )
                continue
        rows.append([one])
        lines.append((top, bottom))
    for row in rows:
        yield [int(places[one]) for one in row]
