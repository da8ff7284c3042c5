"""Which of an item's annotations counts, and what it says.

An annotation that we have put there and nobody has touched is no opinion. Of the others the newest one that
is marked as ground truth counts, else the newest submitted one; skipping counts where nobody has submitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backend.label_studio.client import stamp
from plugins.contract import Label, Region

_TOLERANCE = 1.0  # pixels outside of the image that nobody needs to hear of
_SMALLEST = 1.0  # pixels: a region that is thinner inside the image is none


@dataclass(frozen=True)
class Opinion:
    """The annotation that counts: what it holds, whether it skips the item, who and when."""

    result: Sequence[Mapping[str, Any]]
    skipped: bool
    user: int | None
    at: str


def opinion_of(annotations: Sequence[Mapping[str, Any]], sent_at: str = "") -> Opinion | None:
    """The opinion of people on an item; None where nobody has said anything. `sent_at` is Label Studio's time
    of our own last change of its annotation.
    """
    theirs = [entry for entry in annotations if not _is_ours(entry, sent_at)]
    if not theirs:
        return None
    best = max(theirs, key=_rank)
    user = best.get("completed_by")
    if isinstance(user, Mapping):
        user = user.get("id")
    return Opinion(
        best.get("result") or [],
        bool(best.get("was_cancelled")),
        user if isinstance(user, int) else None,
        stamp(best.get("updated_at")),
    )


def of_ours(annotations: Sequence[Mapping[str, Any]], sent_at: str = "") -> list[Mapping[str, Any]]:
    """Those that are still as we have put them there."""
    return [entry for entry in annotations if _is_ours(entry, sent_at)]


def _is_ours(entry: Mapping[str, Any], sent_at: str) -> bool:
    if not entry.get("import_id"):
        return False
    return entry.get("updated_by") is None or (sent_at != "" and stamp(entry.get("updated_at")) == sent_at)


def _rank(entry: Mapping[str, Any]) -> tuple[bool, bool, str]:
    submitted = not entry.get("was_cancelled")
    return submitted, submitted and bool(entry.get("ground_truth")), stamp(entry.get("updated_at"))


def inside(label: Label, width: int, height: int) -> tuple[Label, int]:
    """The label with its regions cut to the image, and how many of them were outside by more than a pixel.

    A region of which nothing is left is dropped; a rotated rectangle that is cut becomes a polygon.
    """
    if not (width and height):
        return label, 0
    regions, outside = [], 0
    for region in label.regions:
        cut = _cut(region, width, height)
        far = max(
            max(abs(x - cx), abs(y - cy)) for (x, y), (cx, cy) in zip(region.points, cut.points, strict=True)
        )
        outside += far > _TOLERANCE
        xs, ys = [x for x, _ in cut.points], [y for _, y in cut.points]
        if max(xs) - min(xs) >= _SMALLEST and max(ys) - min(ys) >= _SMALLEST:
            regions.append(cut)
    return Label(label.name, tuple(regions)), outside


def _cut(region: Region, width: int, height: int) -> Region:
    points = tuple(
        (min(max(x, 0.0), float(width)), min(max(y, 0.0), float(height))) for x, y in region.points
    )
    if points == region.points:
        return region
    upright = len({x for x, _ in region.points}) == 2 and len({y for _, y in region.points}) == 2
    shape = region.shape if upright or region.shape == "polygon" else "polygon"
    return replace(region, points=points, shape=shape)
