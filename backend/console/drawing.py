"""Curves as the points of an SVG polyline; everything else of a drawing stands in the templates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 300, 80
_MOST_POINTS = 300  # of one curve; more than the drawing has pixels say nothing


@dataclass(frozen=True)
class Curve:
    """One metric over the epochs. `points` is for a view box of `WIDTH` by `HEIGHT`."""

    name: str
    points: str
    low: float
    high: float
    last: float
    count: int


def curves(rows: Iterable[Any]) -> list[Curve]:
    """One curve a metric, of rows with `name`, `epoch` and `value`, in the order in which they appeared."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        found[row.name].append((row.epoch, row.value))
    return [curve(name, points) for name, points in found.items()]


def curve(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    """Scale the points (epoch, value), of which there is at least one, to the view box."""
    ordered = sorted(points, key=lambda point: point[0])
    stride = -(-len(ordered) // _MOST_POINTS)
    shown = [*ordered[:-1:stride], ordered[-1]]
    (left, right), values = (ordered[0][0], ordered[-1][0]), [value for _, value in ordered]
    low, high = min(values), max(values)

    def place(epoch: float, value: float) -> str:
        x = WIDTH * (epoch - left) / (right - left) if right > left else WIDTH
        y = HEIGHT - HEIGHT * (value - low) / (high - low) if high > low else HEIGHT / 2
        return f"{x:.1f},{y:.1f}"

    drawn = " ".join(place(*point) for point in shown)
    return Curve(name, drawn, low, high, ordered[-1][1], len(ordered))
