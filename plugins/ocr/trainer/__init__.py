"""Training of a reader: the detector first, then the recogniser, also on what that detector finds. What is
best end to end on whole validation images is kept, and the base where training did not make it better.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from plugins.contract import Draft, Prediction, TrainingContext
from plugins.ocr import direction, exporter
from plugins.ocr.bases import Detector, Recogniser
from plugins.ocr.evaluate import HEADLINE
from plugins.ocr.matching import changes
from plugins.ocr.predictor import Sides, Thresholds
from plugins.ocr.predictor.breaks import Breaks
from plugins.ocr.predictor.language import Language, learn
from plugins.ocr.trainer import beginning, breaks, int8, pages
from plugins.ocr.trainer.breaks import Learned
from plugins.ocr.trainer.judging import Extras, Interrupted, Judge, score
from plugins.ocr.trainer.pages import Pages
from plugins.ocr.trainer.stages import Found, Stages

# What networks are judged on while training; the evaluation takes all.
_JUDGED_TEXTS, _JUDGED_IMAGES = 500, 100
TRAINED = "trained networks"
_FEWEST_TEXTS = 100  # labels that say how texts run
# How long lines are looked at to learn where they are divided: times the seconds foreseen, as texts may have
# to be looked for, too; or a share of what is left where that is more.
_UNHURRIED, _OF_THE_REST = 2.0, 0.5


@dataclass(frozen=True)
class Kept:
    """Networks that may become the model, with the thresholds that belong to them, what they are, how the
    labels' texts run, and where their lines are divided.
    """

    detector: Detector
    recogniser: Recogniser
    thresholds: Thresholds
    name: str
    answers: Sequence[Prediction] | None = None  # to the images that are judged, where they were asked
    language: Language | None = None
    breaks: Learned | None = None

    @property
    def extras(self) -> Extras:
        """What is learned beside the networks."""
        return Extras(self.language, Breaks(self.breaks.graph) if self.breaks else None)


def train(context: TrainingContext) -> Draft:
    """See `plugins.contract.Train`. Raises `PluginError` (those of `beginning.load` and of `plugins.fitting`)
    and `TrainingStopped`.
    """
    torch.set_num_threads(max(1, context.threads))
    context.folder.mkdir(parents=True, exist_ok=True)
    side, validation = (pages.pages(context, split) for split in ("train", "validation"))
    some = pages.texts(side)
    _state_facts(context, side, validation, len(some))
    base, recogniser, unseen = beginning.load(context, some)
    judge = _judge(context, side, validation)
    start = Kept(base.detector, recogniser, Thresholds(), "pretrained networks")
    facts: dict[str, object] = {}
    try:
        began = beginning.begin(context, judge, base, recogniser)
        if began.parent:
            facts["parent"] = began.parent
        name = f"networks of model {began.parent}" if began.parent else start.name
        start = Kept(*copy.deepcopy((base.detector, recogniser)), began.thresholds, name)
        stages = Stages(context, side, some, base.detector, recogniser, judge, began, bool(unseen))
        kept = _divided(stages, _worded(stages, _train(stages, start)))
    except Interrupted:
        context.log(f"Stopped before anything was trained: the {start.name} are kept.")
        kept = start
    context.fact("kept", kept.name)
    context.fact("thresholds", dict(kept.thresholds.to_json()))
    folder = context.folder / "draft"
    model = _exported(kept, judge, folder)
    model, facts["int8"] = int8.offer(context, folder, model, side, validation)
    facts |= {
        "trained": kept.name == TRAINED,
        "train_images": len(side),
        "train_texts": len(some),
        "attribution": base.attribution,
    }
    return Draft(folder, model, exporter.origin(base), facts)


def _judge(context: TrainingContext, side: Pages, validation: Pages) -> Judge:
    sides = pages.sides_for(side)
    context.fact("least_side", sides.least)
    context.fact("most_side", sides.most)
    if sides.most > Sides().most:
        context.log(
            f"Texts are small beside their images, so these are looked at with up to {sides.most:,} pixels "
            "on the longer side, which takes longer."
        )
    judged = validation if pages.texts(validation) else side
    return Judge(context, judged.telling(_JUDGED_TEXTS, pages.in_the_time(_JUDGED_IMAGES, sides)), sides)


def _train(stages: Stages, start: Kept) -> Kept:
    """Train until the time is over or somebody stops; what is best then. Raises `Interrupted` where a stop
    came before anything was trained.
    """
    wanted = stages.context.params.fine_tune
    if wanted and stages.may_go_on("detector"):
        stages.find()
    thresholds = stages.thresholds()
    if wanted and stages.may_go_on("recogniser"):
        stages.read(thresholds)
    trained = Kept(stages.detector, stages.recogniser, thresholds, TRAINED)
    return _best(stages, trained, start)


def _best(stages: Stages, trained: Kept, start: Kept) -> Kept:
    """The trained networks unless they are worse than the start on the validation images; else that, with
    thresholds fitted to it where these help. After a stop, what the stages have found best, unseen.
    """
    usual = stages.began.metrics
    try:
        trained = replace(trained, answers=_answers(stages.judge, trained))
        found = _metrics(stages.judge, trained)
        if score(found).value >= score(usual).value:
            return trained
        stages.context.log(
            f"Training made it worse on the validation images ({found[HEADLINE]:.1%} against "
            f"{usual[HEADLINE]:.1%} end to end, to the letter {found['end_to_end_f1_strict']:.1%} against "
            f"{usual['end_to_end_f1_strict']:.1%}), so the {start.name} are kept."
        )
    except Interrupted:
        return trained
    try:
        refitted = replace(start, thresholds=stages.fitted(start.detector))
        refitted = replace(refitted, answers=_answers(stages.judge, refitted))
        better = score(_metrics(stages.judge, refitted)).value > score(usual).value
        return refitted if better else start
    except Interrupted:
        return start


def _worded(stages: Stages, kept: Kept) -> Kept:
    """With how the labels' texts run, if there are enough of them and the validation images do not say that
    more is read wrongly by it.
    """
    context, judge = stages.context, stages.judge
    if not context.params.language or len(stages.texts) < _FEWEST_TEXTS:
        return kept
    shown = (direction.turned(one.text) for one in stages.texts)  # as they stand from left to right
    language = learn(shown, len(kept.recogniser.characters))
    worded = replace(kept, language=language, answers=None)
    with suppress(Interrupted):
        before, after = _answers(judge, kept), _answers(judge, worded)
        gained, lost = changes([picture.example for picture in judge.pictures], before, after)
        context.fact("language_texts", [gained, lost])
        if lost - gained <= math.sqrt(gained + lost):  # a standard error of their difference
            context.log(
                "Where a character is in doubt, the labels' texts have a say: on the validation images it "
                f"puts {gained} texts right and {lost} wrong."
            )
            return replace(worded, answers=after)
        context.log(
            f"Letting the labels' texts have a say puts {gained} texts of the validation images right and "
            f"{lost} wrong: every character is read by itself."
        )
    return kept


def _divided(stages: Stages, kept: Kept) -> Kept:
    """With lines divided where the labels divide them, if that can be learned and the validation images do
    not come out worse by it.
    """
    context, judge = stages.context, stages.judge
    side, found = stages.side.some(breaks.MOST_PAGES), Found()
    if kept.name == TRAINED and stages.found is not None:
        side, found = stages.found
    predictor = judge.predictor(kept.detector, kept.recogniser, kept.thresholds, kept.extras)
    seconds = max(_UNHURRIED * stages.began.for_breaks, _OF_THE_REST * context.time_left())
    seen = breaks.look(side, predictor, found, seconds, context.should_stop)
    learned = breaks.learn(seen, context.params.seed)
    if learned is None:
        return kept
    divided = replace(kept, breaks=learned, answers=None)
    with suppress(Interrupted):
        before, after = _metrics(judge, kept), _metrics(judge, divided)
        if score(after).value >= score(before).value:
            context.fact("breaks_f1", [round(learned.before, 4), round(learned.after, 4)])
            context.log(
                "Lines are divided where the labels divide them: on training images not learned from, "
                f"finding text reaches {learned.after:.1%} instead of {learned.before:.1%}, and end to end "
                f"validation {after[HEADLINE]:.1%} instead of {before[HEADLINE]:.1%}."
            )
            return divided
        context.log("To divide lines as the labels do makes the validation images worse: they stay as found.")
    return kept


def _exported(kept: Kept, judge: Judge, folder: Path) -> Mapping[str, Any]:
    model = exporter.export(
        kept.detector, kept.recogniser, folder, sides=judge.sides, thresholds=kept.thresholds
    )
    if kept.language:
        model = exporter.worded(model, folder, kept.language)
    return exporter.divided(model, folder, kept.breaks.graph) if kept.breaks else model


def _metrics(judge: Judge, one: Kept) -> Mapping[str, float]:
    return judge.measured(_answers(judge, one))


def _answers(judge: Judge, one: Kept) -> Sequence[Prediction]:
    if one.answers is not None:
        return one.answers
    return judge.answers(judge.maps(one.detector), one.recogniser, one.thresholds, one.extras)


def _state_facts(context: TrainingContext, side: Pages, validation: Pages, count: int) -> None:
    context.fact("train_images", len(side))
    context.fact("validation_images", len(validation))
    context.fact("texts", count)
    context.fact("device", context.device)
    if not pages.texts(validation):
        what = "text on the validation images" if len(validation) else "validation image"
        context.log(f"There is no {what}: the networks are judged on images that they learn from.")
    context.log(
        f"{len(side)} images with {count} texts to train on and {len(validation)} images to validate, "
        f"on {context.device}."
    )
