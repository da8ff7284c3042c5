"""Label Studio's side of classification: one choice an image.

`config` makes the labeling interface; the other two translate between its regions and class names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from plugins.contract import Prediction

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


def labels_from_regions(
    regions: Sequence[Mapping[str, Any]],
) -> tuple[str | None, tuple[Mapping[str, Any], ...]]:
    """The class name that an annotation's `result` chose, None if it chose none, and no regions.

    Regions of other controls are ignored: users extend the configuration.
    """
    for region in regions:
        chosen = region.get("value", {}).get("choices") if region.get("type") == "choices" else None
        if chosen and region.get("from_name") == _CONTROL:
            return str(chosen[0]), ()
    return None, ()


def regions_from_prediction(prediction: Prediction, *, width: int, height: int) -> list[dict[str, Any]]:
    """The `result` of a Label Studio prediction: the most likely class. The image's size is not needed."""
    best = prediction.outputs[0]
    return [
        {
            "id": _CONTROL,
            "from_name": _CONTROL,
            "to_name": _IMAGE,
            "type": "choices",
            "value": {"choices": [best.label]},
            "score": best.conf,
        }
    ]
