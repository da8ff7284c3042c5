"""Whether to act on an answer: sure enough for its class, and the image like those the model learned from.

Read by the model server, so NumPy only; `plugins.classification.trust_fitting` writes what is read here.
`trust.npz` holds `thresholds` (classes) and, where there was enough to learn from, `basis`, `rows` and
`limit` of `unfamiliar.Reference`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from plugins.classification.unfamiliar import Floats, Reference
from plugins.contract import PluginError

FILE = "trust.npz"
Reason = Literal["", "not_sure", "unlike_training"]

_MOST_BYTES = 64 * 1024**2  # of all arrays together; ours have a few
_REFERENCE = ("scale", "basis", "rows", "limit")


@dataclass(frozen=True)
class Trust:
    """`thresholds` (classes): the least confidence to act on each class, above 1 for never. `reference` is
    None when nothing was learned about what is unlike the training images.
    """

    thresholds: Floats
    reference: Reference | None = None

    @classmethod
    def open(cls, folder: Path, model: Mapping[str, Any]) -> Trust | None:
        """What the bundle knows, None for a `model` without a "trust" entry.

        Raises `PluginError` (`model_unreadable`) when the file is missing, damaged or of another model.
        """
        if "trust" not in model:
            return None
        try:
            arrays = _read(folder, model["trust"]["file"])
            trust = cls(arrays["thresholds"], Reference(*_reference(arrays)) if "rows" in arrays else None)
            if trust.thresholds.shape != (len(model["labels"]),):
                raise ValueError("its thresholds are not those of the model's classes")
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise PluginError(
                "model_unreadable", f"the model's trust file cannot be read: {error}"
            ) from error
        return trust

    def decide(
        self, probabilities: npt.NDArray[np.floating], features: Floats | None
    ) -> list[tuple[int | None, Reason]]:
        """Probabilities (images, classes) and features (images, width) -> for each image the class to act
        on and an empty reason, or None and why: first whether the image is unlike, then whether the answer
        is sure.

        Without features (a model of several networks) only the second is asked. Raises `PluginError`
        (`model_failed`) for features of another width.
        """
        best = probabilities.argmax(1)
        sure = probabilities[np.arange(len(best)), best] >= self.thresholds[best]
        unlike = self._unlike(features, len(best))
        return [
            (None, "unlike_training") if strange else (int(place), "") if enough else (None, "not_sure")
            for place, enough, strange in zip(best, sure, unlike, strict=True)
        ]

    def _unlike(self, features: Floats | None, images: int) -> npt.NDArray[np.bool_]:
        if self.reference is None or features is None or not images:
            return np.zeros(images, np.bool_)
        width = len(self.reference.basis)
        if features.shape != (images, width):
            raise PluginError(
                "model_failed", f"the model's features are {features.shape}, not {images}x{width}"
            )
        return self.reference.unlike(features)


def _read(folder: Path, name: str) -> dict[str, Any]:
    """The arrays as float32; a file that would unpack to more than they can need is refused unread."""
    if Path(name).name != name:
        raise ValueError(f"{name} is not a file of the bundle")
    with zipfile.ZipFile(folder / name) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
            raise ValueError("it is too large")
    with np.load(folder / name, allow_pickle=False) as stored:
        arrays = {key: stored[key].astype(np.float32) for key in stored.files}
    for key, array in arrays.items():
        if np.isnan(array).any():
            raise ValueError(f"{key} holds a value that is not a number")
    return arrays


def _reference(arrays: Mapping[str, Any]) -> tuple[Floats, Floats, Floats, float]:
    scale, basis, rows, limit = (arrays[key] for key in _REFERENCE)
    if basis.ndim != 2 or rows.ndim != 2 or rows.shape[1] != basis.shape[1] or not len(rows):
        raise ValueError("its arrays do not fit together")
    if scale.shape != basis.shape[:1]:
        raise ValueError("its scale is not that of the features")
    return scale, basis, rows, float(limit)
