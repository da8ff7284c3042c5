"""What a training begins with: networks of a base, cut to the labels' characters, and how well they read as
they are. Kept for later attempts, which must divide the time as the first one did.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from plugins import fitting
from plugins.contract import PluginError, TrainingContext, TrainingStopped
from plugins.ocr import bases
from plugins.ocr.bases import Base, Detector, Recogniser
from plugins.ocr.evaluate import HEADLINE
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import Thresholds
from plugins.ocr.text import other_case, vocabulary
from plugins.ocr.trainer.budget import detector_share
from plugins.ocr.trainer.judging import Judge, score
from plugins.ocr.trainer.pages import Text

SCRATCH_TEXTS = 20_000  # docTR's own recognisers have learned from millions; with less nothing is read
_LEFT_OVER = 0.08  # share of the time for thresholds, export and comparison
_SHOWN = 20  # characters named in a line of the log


@dataclass(frozen=True)
class Beginning:
    """Seconds of the time budget that are left when the detector and when the recogniser are trained, those
    that looking for text in an image takes, and the metrics of the base.
    """

    after_detector: float
    after_recogniser: float
    page_seconds: float
    metrics: Mapping[str, float]


def load(context: TrainingContext, texts: list[Text]) -> tuple[Base, Recogniser]:
    """The base on its device, and its recogniser cut to the characters to learn.

    Raises `PluginError`: `no_text`, `too_few_texts`, and those of `plugins.ocr.bases.load`.
    """
    params: OcrParams = context.params
    if not texts:
        raise PluginError(
            "no_text", "no image to train on has a region with text; label some, or sync the label files"
        )
    if params.base == "scratch" and len(texts) < SCRATCH_TEXTS:
        raise PluginError(
            "too_few_texts",
            f"training without pretrained networks needs {SCRATCH_TEXTS:,} texts, there are {len(texts):,}; "
            "choose another base",
        )
    base = bases.load(
        params.base,
        context.weights,
        context.offline,
        seconds=max(min(context.time_left(), 600.0), 1.0),
        stop=lambda: _stopped(context),
        log=context.log,
    )
    written = [text.text for text in texts]
    characters, unseen = vocabulary(written, base.characters)
    if unseen:
        named = " ".join(unseen[:_SHOWN]) + (" ..." if len(unseen) > _SHOWN else "")
        context.log(f"{len(unseen)} characters are new to the pretrained network and learned anew: {named}")
    forms = other_case(written, characters)
    if forms:
        cases = ("capitals", "small") if next(iter(forms)).islower() else ("small letters", "capital")
        context.log(f"The labels are written in {cases[0]} only, so {cases[1]} letters are read as these.")
    characters = tuple(one for one in characters if one not in forms)
    context.fact("characters", len(characters) + 1)
    context.fact("new_characters", len(unseen))
    recogniser = bases.cut(base.recogniser, characters, forms).to(context.device)
    base.detector.to(context.device)
    return base, recogniser


def _stopped(context: TrainingContext) -> bool:
    """Without networks there is nothing to keep."""
    if context.stop_requested():
        raise TrainingStopped("stopped before there was a model")
    return False


def begin(context: TrainingContext, judge: Judge, detector: Detector, recogniser: Recogniser) -> Beginning:
    """Measure the base and divide the time, or read what an earlier attempt did."""
    path = context.folder / "beginning.safetensors"
    if path.is_file():
        return Beginning(**fitting.read_checkpoint(path)[1])
    started = time.monotonic()
    maps = judge.maps(detector)
    page_seconds = (time.monotonic() - started) / max(len(maps), 1)
    metrics = judge.metrics(maps, recogniser, Thresholds())
    for name, value in score(metrics).rows.items():
        context.report(name, value, epoch=0)
    context.log(
        f"Without training {metrics[HEADLINE]:.1%} end to end: finding text reaches "
        f"{metrics['detection_f1']:.1%}, and {metrics['exact_match_loose']:.1%} of that is read rightly."
    )
    left = context.time_left()
    share = context.params.detector_share
    share = detector_share(metrics) if share is None else share
    if math.isfinite(left):
        useful, rest = (1 - _LEFT_OVER) * left, _LEFT_OVER * left
        record = {"after_detector": rest + (1 - share) * useful, "after_recogniser": rest}
    else:
        record = {"after_detector": 0.0, "after_recogniser": 0.0}
    record["page_seconds"] = page_seconds
    context.fact("detector_share", round(share, 2))
    context.checkpoint()
    fitting.write_checkpoint(path, {}, {**record, "metrics": dict(metrics)})
    return Beginning(**record, metrics=metrics)
