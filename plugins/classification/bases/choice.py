"""Which pretrained network a training starts from.

`classification-high-performance` has EfficientNet-Lite0. `classification-high-precision` takes the base that
the user named, or the first of `catalogue.LARGER` (the most accurate on ImageNet first) that

1. the time budget allows: every image must be seen as often as `_VIEWS` says, at the base's stated speed
   times the threads of a CPU, or `_GPU_THREADS` for a GPU, in `_SHARE` of the time that is left. Speed falls
   with the area of the input. The stated speed and not a measured one decides, so that the same task on the
   same kind of machine takes the same base;
2. is there: in the weights folder, in PyTorch's cache, or downloadable within a tenth of the time left (two
   minutes at most), unless the machine is set to be offline.

If there is none it is EfficientNet-Lite2, which comes with the package, or EfficientNet-Lite0 where the time
budget does not allow even that: half trained, the larger network is the worse one. A task does not fail for
want of a network connection unless the user named the base. When training may go on from a model, its base
comes first. The choice stands in the task's folder, so that a second attempt finds checkpoints of the same
network.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from plugins import weights
from plugins.classification import bases
from plugins.classification.catalogue import LARGER, LITE0, LITE2, PRECISE, Base
from plugins.contract import PluginError, TrainingContext, TrainingStopped
from plugins.weights import Places

HIGH_PRECISION = "classification-high-precision"

_VIEWS = 2 + 4 * 3.5  # features of image and mirror image, and four epochs at 3.5 times the work of an answer
_SHARE = 0.6  # of the time left; the rest is for validation, export and a slower machine
_GPU_THREADS = 50  # CPU threads that a small GPU is worth
_DOWNLOAD_SHARE, _DOWNLOAD_MOST = 0.1, 120.0  # of the time left; seconds
_REASON = "the most accurate base that is here and that the time budget allows"


@dataclass(frozen=True)
class Choice:
    """A base with the bytes of its weights, and why it was taken (the end of a sentence)."""

    base: Base
    weights: bytes
    reason: str


def choose(context: TrainingContext, images: int, size: int | None, places: Places | None = None) -> Choice:
    """The base for so many training images; `size` is the side of the input, None the base's own.

    Raises `PluginError` (`weights_missing`, `weights_changed`) for a base that was named, `TrainingStopped`,
    `AttemptLost`.
    """
    if context.algorithm != HIGH_PRECISION:
        return Choice(LITE0, weights.read(LITE0, Places()), "the base of this algorithm")
    places = places or bases.places(context)
    record = context.folder / "base.json"
    named = context.params.base or (json.loads(record.read_text()) if record.is_file() else None)
    if named:
        choice = _named(context, next(base for base in (LITE0, *PRECISE) if base.name == named), places)
    else:
        choice = _best(context, images, size, places)
        context.checkpoint()
        _write(record, choice.base.name)
    context.log(f"Training starts from {choice.base.name}: {choice.reason}.")
    return choice


def seconds_needed(base: Base, images: int, size: int | None, device: str, threads: int) -> float:
    """How long training this base on so many images takes at least, by its stated speed."""
    workers = _GPU_THREADS if device == "cuda" else threads
    area = ((size or base.image_size) / base.image_size) ** 2
    return images * _VIEWS * area / (base.speed * workers)


def _named(context: TrainingContext, base: Base, places: Places) -> Choice:
    data = weights.obtain(
        base, places, seconds=max(context.time_left(), 1.0), stop=lambda: _stop(context), log=context.log
    )
    return Choice(base, data, "it was asked for" if context.params.base else "it was chosen before")


def _best(context: TrainingContext, images: int, size: int | None, places: Places) -> Choice:
    """See the head of this module."""
    left = context.time_left()
    limit = max(1.0, min(_DOWNLOAD_SHARE * left, _DOWNLOAD_MOST))
    before = context.previous.base.get("sha256") if context.previous else None
    first = [(base, "training can go on from the model before") for base in PRECISE if base.sha256 == before]
    absent: list[str] = []
    for base, reason in [*first, *((base, _REASON) for base in LARGER if base.sha256 != before)]:
        needed = seconds_needed(base, images, size, context.device, context.threads)
        if base.sha256 != before and needed > _SHARE * left:
            context.log(f"{base.name} is not taken: it would train for {_in_words(needed)} or more.")
            continue
        try:
            data = weights.obtain(base, places, seconds=limit, stop=lambda: _stop(context), log=context.log)
        except PluginError as error:
            if error.code != weights.MISSING or not absent:
                context.log(f"{base.name} is not taken: {error}.")
            if error.code == weights.MISSING:  # one server has them all: what it lacks once is asked once
                places = replace(places, offline=True)
                absent.append(base.name)
            continue
        _log_absent(context, absent)
        return Choice(base, data, reason)
    _log_absent(context, absent)
    needed = seconds_needed(LITE2, images, size, context.device, context.threads)
    if context.params.fine_tune and needed > _SHARE * left:
        context.log(f"{LITE2.name} is not taken: it would train for {_in_words(needed)} or more.")
        return Choice(LITE0, weights.read(LITE0, Places()), "the time budget allows no larger base")
    return Choice(LITE2, weights.read(LITE2, Places()), "no larger base is here that the time budget allows")


def _log_absent(context: TrainingContext, names: list[str]) -> None:
    """The first one has been told with its reason."""
    if names[1:]:
        context.log(f"Not here either: {', '.join(names[1:])}; `sightloop doctor` says how to get them.")


def _stop(context: TrainingContext) -> bool:
    """Whether the download should end because the time is up. Raises what ends the task."""
    if context.should_stop():
        raise TrainingStopped("stopped while the pretrained weights were downloaded")
    return False


def _in_words(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def _write(path: Path, name: str) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(name), encoding="utf-8")
    partial.replace(path)
