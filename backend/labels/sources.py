"""Where labels come from, and which one wins when several sources name the same image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backend.datasets.types import has_classes
from backend.labels import folders

# From strongest to weakest. What a person has said image by image comes first, then files that name each
# image, then the folder, which is often only where a file happened to land.
PEOPLE = "label_studio"
PRECEDENCE = (PEOPLE, "voc", "ppocrlabel", "coco", "csv", folders.SOURCE)
MAX_LABEL = 200  # characters

LabelOf = Callable[[str], "Label | None"]


@dataclass(frozen=True)
class Label:
    """What a source says of one image."""

    name: str
    source: str


def wins(source: str, over: str | None) -> bool:
    """Whether a label of `source` may replace one of the source `over` (None: there is none)."""
    return over is None or PRECEDENCE.index(source) <= PRECEDENCE.index(over)


def by_key(dataset_type: str, prefix: str) -> LabelOf:
    """The labels that a key alone gives in a dataset of this type: by folder, where labels are classes."""
    if not has_classes(dataset_type):
        return lambda key: None

    def label_of(key: str) -> Label | None:
        name = folders.label_of(key, prefix)
        return None if name is None or len(name) > MAX_LABEL else Label(name, folders.SOURCE)

    return label_of
