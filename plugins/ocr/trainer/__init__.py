"""Training of a reader: the detector first, then the recogniser, also on what that detector finds. What is
best end to end on whole validation images is kept, and the base where training did not make it better.
"""

from __future__ import annotations

import copy
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from plugins.contract import Draft, TrainingContext
from plugins.ocr import exporter
from plugins.ocr.bases import Detector, Recogniser
from plugins.ocr.evaluate import HEADLINE
from plugins.ocr.predictor import Thresholds
from plugins.ocr.trainer import beginning, pages
from plugins.ocr.trainer.judging import Judge, score
from plugins.ocr.trainer.pages import Pages
from plugins.ocr.trainer.stages import Stages

# What networks are judged on while training; the evaluation takes all.
_JUDGED_TEXTS, _JUDGED_IMAGES = 500, 100


def train(context: TrainingContext) -> Draft:
    """See `plugins.contract.Train`. Raises `PluginError` (those of `beginning.load` and of `plugins.fitting`)
    and `TrainingStopped`.
    """
    torch.set_num_threads(max(1, context.threads))
    context.folder.mkdir(parents=True, exist_ok=True)
    side, validation = (pages.pages(context, split) for split in ("train", "validation"))
    some = pages.texts(side)
    _state_facts(context, side, validation, len(some))
    base, recogniser = beginning.load(context, some)
    judge = Judge(context, (validation if len(validation) else side).telling(_JUDGED_TEXTS, _JUDGED_IMAGES))
    began = beginning.begin(context, judge, base.detector, recogniser)
    start = copy.deepcopy((base.detector, recogniser))
    stages = Stages(context, side, some, base.detector, recogniser, judge, began)
    thresholds = _train(stages)
    metrics = judge.metrics(judge.maps(stages.detector), stages.recogniser, thresholds)
    trained = score(metrics).value >= score(began.metrics).value
    if not trained:
        context.log(
            f"Training made it worse on the validation images ({metrics[HEADLINE]:.1%} against "
            f"{began.metrics[HEADLINE]:.1%} end to end), so the pretrained networks are kept."
        )
    folder = context.folder / "draft"
    detector, recogniser = (stages.detector, stages.recogniser) if trained else start
    model = _export(detector, recogniser, folder, thresholds if trained else Thresholds())
    facts = {
        "trained": trained,
        "base_end_to_end_f1": round(began.metrics[HEADLINE], 4),
        "train_images": len(side),
        "train_texts": len(some),
        "attribution": base.attribution,
    }
    context.fact("kept", "trained networks" if trained else "pretrained networks")
    return Draft(folder, model, exporter.origin(base), facts)


def _train(stages: Stages) -> Thresholds:
    """Train both networks until the time is over or somebody stops; the thresholds that belong to them."""
    context, wanted = stages.context, stages.context.params.fine_tune
    if wanted and not context.should_stop():
        stages.find()
    thresholds = stages.thresholds()
    if wanted and not context.should_stop():
        with TemporaryDirectory(dir=context.folder) as scratch:
            stages.read(thresholds, Path(scratch))
    return thresholds


def _export(
    detector: Detector, recogniser: Recogniser, folder: Path, thresholds: Thresholds
) -> dict[str, object]:
    return dict(exporter.export(detector, recogniser, folder, thresholds=thresholds))


def _state_facts(context: TrainingContext, side: Pages, validation: Pages, count: int) -> None:
    context.fact("train_images", len(side))
    context.fact("validation_images", len(validation))
    context.fact("texts", count)
    context.fact("device", context.device)
    context.log(
        f"{len(side)} images with {count} texts to train on and {len(validation)} images to validate, "
        f"on {context.device}."
    )
