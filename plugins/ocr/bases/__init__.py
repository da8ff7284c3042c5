"""The networks that the training of text reading starts from.

    base = load("pp-ocrv6-small", weights_dir, offline=True)
    recogniser = cut(base.recogniser, characters_of_the_labels)

Both networks are plain modules with all weights trainable; a `state_dict` read back into a network made by
the same `load` (and `cut` to the same characters) gives the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch

from plugins import weights
from plugins.contract import PluginError
from plugins.ocr import catalogue
from plugins.ocr.bases import doctr_models, ppocr
from plugins.ocr.bases.network import Detector, Input, Recogniser
from plugins.weights import Places

__all__ = ["Base", "Detector", "Input", "Recogniser", "cut", "go_on", "load"]


@dataclass(frozen=True)
class Base:
    """Two networks with pretrained weights. `files` maps the files that they came from to their sha256;
    `license` and `attribution` belong into every bundle made from them. `pretrained` is False for random
    weights.
    """

    name: str
    license: str
    attribution: str
    detector: Detector
    recogniser: Recogniser
    files: dict[str, str]
    pretrained: bool = True

    @property
    def characters(self) -> tuple[str, ...]:
        """What the recogniser knows: class i is `characters[i - 1]`, class 0 is CTC's blank."""
        return self.recogniser.characters


def load(
    name: str,
    weights_dir: Path | None,
    offline: bool,
    *,
    places: Places | None = None,
    seconds: float = 600.0,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> Base:
    """The base of that name. What the machine lacks is downloaded into `weights_dir` unless `offline`.

    `places` replaces the folders and certificates; `seconds`, `stop` and `log` are for a download (see
    `plugins.weights.obtain`). Raises `PluginError`: `unknown_base`, `weights_missing` (naming file and
    address), `weights_changed`, and what `stop` raises.
    """
    entry = next((entry for entry in catalogue.ALL if entry.name == name), None)
    if entry is None:
        raise PluginError("unknown_base", f"no base {name!r}; there is {', '.join(catalogue.NAMES)}")
    places = places or Places(weights_dir, catalogue.doctr_cache(), offline)
    data = [weights.obtain(file, places, seconds=seconds, stop=stop, log=log) for file in entry.files]
    detector: Detector
    recogniser: Recogniser
    if entry.architectures:
        detector, recogniser = doctr_models.load(entry.architectures, data)
    else:
        detector, recogniser = ppocr.PPOCRDetector(data[0]), ppocr.PPOCRRecogniser(data[1])
    files = {file.file: sha256(content).hexdigest() for file, content in zip(entry.files, data, strict=True)}
    return Base(entry.name, entry.license, entry.attribution, detector, recogniser, files, bool(entry.files))


def cut(
    recogniser: Recogniser, characters: Iterable[str], forms: Mapping[str, str] | None = None
) -> Recogniser:
    """Cut or extend the last layer to these characters, in their order, then the space; the same object.

    Rows of characters that it knows are kept. New ones start with small random weights (the same ones each
    time) and the bias of the rarest character known, so that they are answered only once they are learned.
    `forms` are characters that it knows and shall answer as one of `characters` (see `Recogniser`).
    Raises `ValueError` for what is not one character.
    """
    wanted = (*dict.fromkeys(one for one in characters if one != " "), " ")
    if wrong := [one for one in wanted if len(one) != 1]:
        raise ValueError(f"{wrong[0]!r} is not one character")
    weight, bias = recogniser.last_layer()
    known = {character: place for place, character in reversed([*enumerate(recogniser.rows)])}
    kept = {form: one for form, one in sorted((forms or {}).items()) if form in known}
    noise = torch.Generator().manual_seed(0)
    rows, shifts = [weight[0]], [bias[0]]
    for character in (*wanted, *kept):
        place = known.get(character)
        if place is None:
            row = torch.randn(weight.shape[1], generator=noise).to(weight) * weight.std() * 0.1
            rows.append(row)
            shifts.append(bias[1:].min())
        else:
            rows.append(weight[place])
            shifts.append(bias[place])
    recogniser.replace_last_layer(torch.stack(rows), torch.stack(shifts))
    recogniser.stand_for(wanted, kept)
    return recogniser


def go_on(trained: Recogniser, like: Recogniser) -> Recogniser:
    """Let a trained network answer the characters of `like`, which is of the same base: its own rows of the
    last layer where it knows a character, else those of `like`. The same object.
    """
    known = {character: place for place, character in enumerate(trained.rows)}
    weight, bias = (value.clone() for value in like.last_layer())
    own_weight, own_bias = trained.last_layer()
    for row, character in enumerate(like.rows):
        if (place := known.get(character)) is not None:
            weight[row], bias[row] = own_weight[place], own_bias[place]
    trained.replace_last_layer(weight, bias)
    trained.stand_for(like.characters, like.forms)
    return trained
