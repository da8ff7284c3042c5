"""Label Studio's side of classification: one choice an image.

`config` makes the labeling interface; the other two translate between its regions and class names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from plugins.contract import Label, Prediction

_CONTROL, _IMAGE = "choice", "image"
# What XML cannot carry even when escaped (XML 1.0, section 2.2); a tab or line break would come back as a
# space.
_NOT_IN_XML = dict.fromkeys([*range(32), 65534, 65535])


def config(labels: Sequence[str]) -> str:
    """The labeling configuration (XML) for these class names; the image's address is the item's `image`."""
    choices = "\n".join(f"    <Choice value={quoteattr(label.translate(_NOT_IN_XML))}/>" for label in labels)
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
        chosen = entry.get("value", {}).get("choices") if entry.get("type") == "choices" else None
        if chosen and entry.get("from_name") == _CONTROL:
            return Label(str(chosen[0]))
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
