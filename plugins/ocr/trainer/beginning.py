"""What a training begins with: networks of a base, cut to the labels' characters, or those of the model
before, and how well they read as they are. Kept for later attempts, which must divide the time as the first
one did.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plugins import fitting
from plugins.contract import PluginError, TrainingContext, TrainingStopped
from plugins.ocr import bases
from plugins.ocr.bases import Base, Recogniser
from plugins.ocr.evaluate import HEADLINE
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import Thresholds
from plugins.ocr.targets import SHRINK
from plugins.ocr.text import other_case, scripts, vocabulary
from plugins.ocr.trainer.breaks import MOST_PAGES
from plugins.ocr.trainer.budget import detector_share
from plugins.ocr.trainer.judging import Judge, score
from plugins.ocr.trainer.pages import Text
from plugins.ocr.trainer.previous import Former, effort, former

SCRATCH_TEXTS = 20_000  # docTR's own recognisers have learned from millions; with less nothing is read
_LEFT_OVER = 0.08  # share of the time for thresholds, export and comparison
_FOR_BREAKS = 0.1  # share that learning where lines are divided may take at most
_SHOWN = 20  # characters named in a line of the log


@dataclass(frozen=True)
class Beginning:
    """Seconds of the time budget that are left when the detector and when the recogniser are trained, those
    that learning where lines are divided may take of the latter, those that looking for text in an image
    takes, and metrics, thresholds and the detector's `shrink` ratio of the networks that are begun with:
    those of the model `parent`, or pretrained ones.
    """

    after_detector: float
    after_recogniser: float
    page_seconds: float
    metrics: Mapping[str, float]
    shrink: float = SHRINK
    thresholds: Thresholds = field(default_factory=Thresholds)
    parent: str = ""
    for_breaks: float = 0.0


def load(context: TrainingContext, texts: list[Text]) -> tuple[Base, Recogniser, tuple[str, ...]]:
    """The base on its device, its recogniser cut to the characters to learn, and those that are new to it.

    Raises `PluginError`: `no_text`, `too_few_texts`, and those of `plugins.ocr.bases.load`.
    """
    params: OcrParams = context.params
    if not texts:
        raise PluginError(
            "no_text",
            "no image to train on has a region with a line of text; label some, or sync the label files",
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
    in_labels = {character for text in written for character in text}
    more = [one for one in characters if one not in in_labels and not one.isascii()]
    if more:
        context.log(
            f"{len(more):,} more characters of the pretrained network are kept, as texts to come may have "
            f"them: the labels have letters of the scripts {', '.join(scripts(in_labels))}."
        )
    forms = other_case(written, characters)
    if forms:
        cases = ("capitals", "small") if next(iter(forms)).islower() else ("small letters", "capital")
        context.log(f"The labels are written in {cases[0]} only, so {cases[1]} letters are read as these.")
    characters = tuple(one for one in characters if one not in forms)
    context.fact("characters", len(characters) + 1)
    context.fact("new_characters", len(unseen))
    recogniser = bases.cut(base.recogniser, characters, forms).to(context.device)
    base.detector.to(context.device)
    return base, recogniser, unseen


def _stopped(context: TrainingContext) -> bool:
    """Without networks there is nothing to keep."""
    if context.stop_requested():
        raise TrainingStopped("stopped before there was a model")
    return False


def begin(context: TrainingContext, judge: Judge, base: Base, recogniser: Recogniser) -> Beginning:
    """Measure the base and the model to go on from, whose weights the networks then hold if they are better,
    and divide the time; or read what an earlier attempt did.

    Raises `PluginError` (`previous_differs`), and `Interrupted` before the networks are changed.
    """
    path = context.folder / "beginning.safetensors"
    before = former(context, base, recogniser)
    if path.is_file():
        record = fitting.read_checkpoint(path)[1]
    else:
        record = _measured(context, judge, base, recogniser, before)
        context.checkpoint()
        fitting.write_checkpoint(path, {}, record)
    if before is not None and record["parent"]:
        base.detector.load_state_dict(before.detector.state_dict())
        recogniser.load_state_dict(before.recogniser.state_dict())
    return Beginning(**{**record, "thresholds": Thresholds(**record["thresholds"])})


def _measured(
    context: TrainingContext, judge: Judge, base: Base, recogniser: Recogniser, before: Former | None
) -> dict[str, Any]:
    started = time.monotonic()
    maps = judge.maps(base.detector)
    page_seconds = (time.monotonic() - started) / max(len(maps), 1)
    thresholds, parent, share = Thresholds(), "", 1.0
    started = time.monotonic()
    metrics = judge.metrics(maps, recogniser, thresholds)
    reading = (time.monotonic() - started) / max(len(maps), 1)
    for name, value in score(metrics).rows.items():
        context.report(name, value, epoch=0)
    context.log(f"Without training {_in_words(metrics)}")
    context.fact("base_end_to_end_f1", round(metrics[HEADLINE], 4))
    if before is not None and context.previous is not None:
        its = judge.maps(before.detector)
        own = judge.metrics(its, before.recogniser, before.thresholds)
        context.log(f"Model {context.previous.name}: {_in_words(own)}")
        if score(own).value >= score(metrics).value:
            maps, metrics, thresholds, parent = its, own, before.thresholds, context.previous.name
            share = effort(context.previous, context.examples("train"))
            context.log(f"Training goes on from the model, in {share:.0%} of the time.")
    fitted = judge.fit(maps)
    known = {**metrics, "detection_f1": max(metrics["detection_f1"], fitted.f1)}  # this needs no training
    return {
        **_division(context, known, share, reading * min(len(context.examples("train")), MOST_PAGES)),
        "page_seconds": page_seconds,
        "metrics": dict(metrics),
        "shrink": judge.shrink_ratio(maps, fitted.thresholds),
        "thresholds": dict(thresholds.to_json()),
        "parent": parent,
    }


def _division(
    context: TrainingContext, metrics: Mapping[str, float], effort: float, breaks: float
) -> dict[str, float]:
    """Seconds that are left when each network is trained, if both take this share of the useful time, and
    those for learning where lines are divided, which would take `breaks` seconds.
    """
    left = context.time_left()
    share = context.params.detector_share
    share = detector_share(metrics) if share is None else share
    context.fact("detector_share", round(share, 2))
    if not math.isfinite(left):
        return {"after_detector": 0.0, "after_recogniser": 0.0, "for_breaks": breaks}
    breaks = min(breaks, _FOR_BREAKS * left)
    useful = effort * ((1 - _LEFT_OVER) * left - breaks)
    after = left - useful
    return {"after_detector": left - share * useful, "after_recogniser": after, "for_breaks": breaks}


def _in_words(metrics: Mapping[str, float]) -> str:
    return (
        f"{metrics[HEADLINE]:.1%} end to end: finding text reaches {metrics['detection_f1']:.1%}, and "
        f"{metrics['exact_match_loose']:.1%} of that is read rightly."
    )
