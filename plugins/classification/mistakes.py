"""The worst mistakes as one picture: what the model saw, what it said, and where it found that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure, SubFigure
from PIL import Image, ImageOps

from plugins import images
from plugins.classification import evidence
from plugins.classification.lettering import Lettering
from plugins.contract import Evaluation, Evidence, Example, Explainer, PluginError, Predictor

FILE = "mistakes.png"
_MOST = 12
_ACROSS = 3
_SIDE, _GAP = 224, 6  # pixels of a thumbnail's longer side, and between two
_NAME, _KEY = 30, 46  # characters that fit over a pair of thumbnails


@dataclass(frozen=True)
class Mistake:
    """One wrong answer, its image reduced, and its evidence where the model has any."""

    key: str
    label: str
    answer: str
    confidence: float
    image: Image.Image
    evidence: Evidence | None


def illustrate_mistakes(
    evaluation: Evaluation,
    examples: Sequence[Example],
    read: Callable[[Example], bytes],
    predictor: Predictor,
    folder: Path,
) -> None:
    """Write `mistakes.png` of the mistakes that the evaluation lists; nothing when there are none.

    See `plugins.contract.IllustrateMistakes`.
    """
    rows = evaluation.details.get("mistakes", ())[:_MOST]
    by_key = {example.key: example for example in examples}
    found = [_mistake(row, by_key[row["key"]], read, predictor) for row in rows if row["key"] in by_key]
    if found:
        folder.mkdir(parents=True, exist_ok=True)
        draw(found, folder / FILE)


def _mistake(
    row: Mapping[str, object], example: Example, read: Callable[[Example], bytes], predictor: Predictor
) -> Mistake:
    decoded = images.decode(
        read(example), wanted_side=max(_SIDE, predictor.wanted_side or 0), limits=images.CHECKED
    )
    answer = str(row["predicted"])
    found = None
    if isinstance(predictor, Explainer):
        try:
            (found,) = predictor.explain([decoded], [answer])
        except PluginError:  # this one has no maps; the images alone still say a lot
            found = None
    image = ImageOps.contain(decoded.image, (_SIDE, _SIDE))
    return Mistake(example.key, str(row["label"]), answer, float(str(row["conf"])), image, found)


def draw(mistakes: Sequence[Mistake], path: Path) -> None:
    """Write a sheet of the mistakes (one at least), each image beside the evidence for the answer it got."""
    lettering = Lettering(text for one in mistakes for text in (one.key, one.label, one.answer))
    down = -(-len(mistakes) // _ACROSS)
    across = min(len(mistakes), _ACROSS)
    title = "The most confident mistakes"
    if any(one.evidence is not None for one in mistakes):
        title += f"{'; ' if across > 1 else chr(10)}orange speaks for the answer, blue against it"
    with matplotlib.rc_context({"font.family": lettering.families, "font.size": 9}):
        figure = Figure(figsize=(4.2 * across, 2.65 * down + 0.35), layout="constrained", facecolor="white")
        figure.suptitle(title, fontsize=10)
        cells = figure.subfigures(down, across, squeeze=False).ravel()
        for cell, one in zip(cells, mistakes, strict=False):
            _cell(cell, one, lettering)
        figure.savefig(path, dpi=110)


def _cell(cell: SubFigure, one: Mistake, lettering: Lettering) -> None:
    answer, label = (lettering.plain(name, _NAME) for name in (one.answer, one.label))
    cell.suptitle(
        f"answer: {answer}  {one.confidence:.2f}\nlabel: {label}\n{lettering.plain(one.key, _KEY)}",
        fontsize=8,
        x=0.02,
        ha="left",
    )
    pair = Image.new("RGB", (2 * _SIDE + _GAP, _SIDE), "white")
    pair.paste(one.image)
    if one.evidence is not None:
        pair.paste(evidence.overlay(one.image, one.evidence, longest=_SIDE), (one.image.width + _GAP, 0))
    axes = cell.subplots()
    axes.set_axis_off()
    axes.imshow(np.asarray(pair))
