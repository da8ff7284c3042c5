"""The images with the most mistakes, with what was marked and what the model answered drawn on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from plugins import images
from plugins.classification.lettering import Lettering
from plugins.contract import Evaluation, Example, Predictor
from plugins.images import Decoded
from plugins.ocr import geometry
from plugins.ocr.matching import Pair, pairs

FILE = "mistakes.png"
_MOST, _ACROSS = 6, 2
_SIDE = 1400  # pixels of a drawn image's longer side
_LETTERS = 40
_NAMED = 25  # mistakes of one image that are written out
_MISSED, _INVENTED, _MISREAD, _RIGHT = "tab:red", "tab:purple", "tab:orange", "tab:green"
_TITLE = (
    "The images with the most mistakes: red is missed, orange read wrongly, purple invented, green is right; "
    "solid is the answer, dashed the label"
)


def illustrate_mistakes(
    evaluation: Evaluation,
    examples: Sequence[Example],
    read: Callable[[Example], bytes],
    predictor: Predictor,
    folder: Path,
) -> None:
    """Write `mistakes.png` of the images that the evaluation lists; nothing when there are none.

    See `plugins.contract.IllustrateMistakes`.
    """
    by_key = {example.key: example for example in examples}
    rows = [row for row in evaluation.details.get("mistakes", ()) if row["key"] in by_key][:_MOST]
    drawn: list[tuple[Example, Decoded, list[Pair]]] = []
    for row in rows:
        example = by_key[row["key"]]
        decoded = images.decode(read(example), wanted_side=predictor.wanted_side, limits=images.CHECKED)
        (prediction,) = predictor.predict([decoded])
        drawn.append((example, decoded, pairs(example, prediction)))
    if drawn:
        folder.mkdir(parents=True, exist_ok=True)
        draw(drawn, folder / FILE)


def draw(drawn: Sequence[tuple[Example, Decoded, list[Pair]]], path: Path) -> None:
    """Write a sheet of the images (one at least)."""
    texts = [text for _, _, found in drawn for pair in found for text in (pair.truth, pair.answer) if text]
    lettering = Lettering([*texts, *(example.key for example, _, _ in drawn)])
    down, across = -(-len(drawn) // _ACROSS), min(len(drawn), _ACROSS)
    tallest = max(decoded.height / decoded.width for _, decoded, _ in drawn)
    size = (7 * across, (7 * min(max(tallest, 0.4), 2.0) + 0.6) * down + 0.4)
    with matplotlib.rc_context({"font.family": lettering.families, "font.size": 8}):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        figure.suptitle(
            _TITLE if across > 1 else _TITLE.replace(": ", ":\n").replace("; ", ";\n"), fontsize=9
        )
        for place, (example, decoded, found) in enumerate(drawn, 1):
            axes = figure.add_subplot(down, across, place)
            _page(axes, example, decoded, found, lettering)
        figure.savefig(path, dpi=100)


def _page(
    axes: Axes, example: Example, decoded: Decoded, found: Sequence[Pair], lettering: Lettering
) -> None:
    picture = decoded.image.copy()
    picture.thumbnail((_SIDE, _SIDE))
    axes.imshow(np.asarray(picture), extent=(0, decoded.width, decoded.height, 0), alpha=0.75)
    axes.set_axis_off()
    axes.set_title(lettering.plain(example.key, 60), fontsize=8)
    named = 0
    for pair in found:
        colour = _colour(pair)
        if pair.region is not None and colour != _RIGHT:
            _outline(axes, geometry.quad(pair.region.points), colour, dashed=True)
        if pair.pos is not None:
            _outline(axes, pair.pos, colour, dashed=False)
        if colour != _RIGHT and named < _NAMED:
            named += 1
            _words(axes, pair, colour, lettering)


def _colour(pair: Pair) -> str:
    if pair.region is None:
        return _INVENTED
    if pair.answer is None:
        return _MISSED
    return _RIGHT if pair.right or pair.truth is None else _MISREAD


def _outline(axes: Axes, corners: geometry.Quads, colour: str, *, dashed: bool) -> None:
    axes.add_patch(
        Polygon(corners, fill=False, edgecolor=colour, linewidth=1, linestyle="--" if dashed else "-")
    )


def _words(axes: Axes, pair: Pair, colour: str, lettering: Lettering) -> None:
    """What it says, and in brackets what was answered, above the place."""
    corners = pair.pos if pair.region is None else geometry.quad(pair.region.points)
    if corners is None:
        return
    answer = lettering.plain(pair.answer or "", _LETTERS)
    truth = lettering.plain(pair.truth or "", _LETTERS)
    words = {_INVENTED: f"[{answer}]", _MISSED: truth}.get(colour, f"{truth} [{answer}]")
    axes.text(
        float(corners[:, 0].min()),
        float(corners[:, 1].min()),
        words,
        color="white",
        fontsize=6,
        va="bottom",
        clip_on=True,
        bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.5, "alpha": 0.85},
    )
