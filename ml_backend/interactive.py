"""A box is drawn, its text comes back: the interactive call of Label Studio's auto-annotation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog

from backend.label_studio.bodies import Body, NoBody
from backend.models.opening import OpenedModel
from plugins.contract import Label, Output, PluginError, Reader, Region
from plugins.images import Decoded

logger = structlog.get_logger()
_MOST = 50  # regions of one call
_TEXT = "textarea"


def read_regions(opened: OpenedModel, image: Decoded, drawn: Sequence[Any], version: str) -> Body:
    """The drawn regions as they came, each with its text beside it; regions that have a text are left alone.

    Raises `NoBody` when the model cannot read, or not this.
    """
    entries = [entry for entry in drawn if isinstance(entry, Mapping)]
    label = opened.labeling.label_from_result(entries, width=image.width, height=image.height)
    asked = [region for region in label.regions if region.text is None and not region.ignored][:_MOST]
    result: list[dict[str, Any]] = []
    scores: list[float] = []
    for region, output in zip(asked, _read(opened, image, asked), strict=True):
        texts = _texts(opened, region, output, image)
        if output.label and texts:
            score = min(max(float(output.conf), 0.0), 1.0)
            result += [dict(entry) for entry in entries if entry.get("id") == region.id]
            result += [{**text, "score": score} for text in texts]
            scores.append(score)
    score = sum(scores) / len(scores) if scores else 0.0
    return {"result": result, "score": score, "model_version": version}


def _read(opened: OpenedModel, image: Decoded, regions: Sequence[Region]) -> Sequence[Output]:
    if not isinstance(opened.predictor, Reader):
        raise NoBody("this kind of model reads no drawn regions")
    if not regions:
        return []
    try:
        return opened.predictor.read(image, regions)
    except PluginError as error:
        raise NoBody(str(error)) from None
    except Exception as error:  # the code of others
        logger.error("the predictor raised what was not foreseen", exc_info=error)
        raise NoBody("the model failed on these regions; the log says why") from None


def _texts(opened: OpenedModel, region: Region, output: Output, image: Decoded) -> list[dict[str, Any]]:
    """The results that hold the text, as the plugin writes them."""
    read = Label(regions=(replace(region, text=output.label),))
    written = opened.labeling.result_from_label(read, width=image.width, height=image.height)
    return [entry for entry in written if entry.get("type") == _TEXT]
