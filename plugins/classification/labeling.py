"""Label Studio's side of classification: one choice an image, with a key for each of the first classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugins.contract import Label, Prediction
from plugins.markup import attribute, hotkey

_CONTROL, _IMAGE = "choice", "image"


def config(labels: Sequence[str]) -> str:
    """The labeling configuration (XML) for these class names; the image's address is the item's `image`."""
    choices = "\n".join(
        f"    <Choice value={attribute(label)}{hotkey(number)}/>" for number, label in enumerate(labels)
    )
    return (
        "<View>\n"
        f'  <Image name="{_IMAGE}" value="${_IMAGE}"/>\n'
        f'  <Choices name="{_CONTROL}" toName="{_IMAGE}" choice="single-radio" showInline="true">\n'
        f"{choices}\n"
        "  </Choices>\n"
        "</View>\n"
    )


def label_from_result(result: Sequence[Mapping[str, Any]], *, width: int, height: int) -> Label:
    """The class that an annotation chose, if it chose one. The image's size is not needed."""
    for entry in result:
        if entry.get("type") == "choices" and entry.get("from_name") == _CONTROL:
            chosen = (entry.get("value") or {}).get("choices")
            if chosen:
                return Label(chosen if isinstance(chosen, str) else str(chosen[0]))
    return Label()


def result_from_label(label: Label, *, width: int, height: int) -> list[dict[str, Any]]:
    """The annotation that chooses this class; empty for no class. The image's size is not needed."""
    return [] if label.name is None else [_choice(label.name)]


def result_from_prediction(prediction: Prediction, *, width: int, height: int) -> list[dict[str, Any]]:
    """The most likely class. The image's size is not needed."""
    best = prediction.outputs[0]
    return [{**_choice(best.label), "score": best.conf}]


def _choice(name: str) -> dict[str, Any]:
    return {
        "id": _CONTROL,
        "from_name": _CONTROL,
        "to_name": _IMAGE,
        "type": "choices",
        "value": {"choices": [name]},
    }
