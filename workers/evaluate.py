"""The evaluate step: measure the draft through the predictor that will serve it, and the model before it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backend.errors import ModelInvalid
from backend.models import registry as models
from backend.models.answers import flips, may_be_chance
from backend.models.tables import Model
from plugins import registry
from plugins.contract import (
    Draft,
    Evaluation,
    Example,
    Plugin,
    PluginError,
    Prediction,
    Predictor,
    TrainingStopped,
)
from plugins.images import CHECKED, decode
from workers import previous
from workers.prepare import Prepared

if TYPE_CHECKING:
    from workers.train import Attempt

_BATCH = 16


@dataclass(frozen=True)
class Judgement:
    """How good the draft is, and how it stands against the dataset's current model."""

    evaluation: Evaluation
    side: str
    worse_than: str = ""
    note: str = ""


def judge(attempt: Attempt, prepared: Prepared, draft: Draft) -> Judgement:
    """Evaluate on the test side when there is one, else on the validation side."""
    side = "test" if any(example.split == "test" for example in prepared.examples) else "validation"
    examples = [example for example in prepared.examples if example.split == side]
    predictor = open_predictor(attempt.plugin, draft.folder, draft.model, attempt)
    started = time.perf_counter()
    evaluation = _measure(attempt, prepared, predictor, examples)
    seconds = time.perf_counter() - started
    record, headline = attempt.record, attempt.plugin.headline
    for name, value in evaluation.metrics.items():
        record.metric(name, value, 0.0)
    record.facts |= {
        "images": len(examples),
        "side": side,
        "images_per_second": round(len(examples) / seconds, 1),
    }
    record.facts |= dict(evaluation.metrics)
    record.log(f"{headline} {evaluation.metrics[headline]:.3f} on {len(examples)} {side} images")
    worse_than, note = _compare(attempt, prepared, evaluation, examples)
    if note:
        record.log(note)
    return Judgement(evaluation, side, worse_than, note)


def open_predictor(plugin: Plugin, folder: Path, model: Mapping[str, Any], attempt: Attempt) -> Predictor:
    """The predictor of a draft or a bundle, with all threads of this worker."""
    opened: Predictor = registry.load(plugin.predictor)(
        folder, model, threads=attempt.runtime.settings.cpu_threads
    )
    return opened


def _measure(
    attempt: Attempt, prepared: Prepared, predictor: Predictor, examples: Sequence[Example]
) -> Evaluation:
    predictions: list[Prediction] = []
    for start in range(0, len(examples), _BATCH):
        images = [
            decode(prepared.read(example), wanted_side=predictor.wanted_side, limits=CHECKED)
            for example in examples[start : start + _BATCH]
        ]
        predictions.extend(predictor.predict(images))
        attempt.record.flush_if_due()
        if attempt.record.stop == "discard":
            raise TrainingStopped("nothing is kept")
    evaluation: Evaluation = registry.load(attempt.plugin.evaluator)(examples, predictions)
    return evaluation


def _compare(
    attempt: Attempt, prepared: Prepared, evaluation: Evaluation, examples: Sequence[Example]
) -> tuple[str, str]:
    """Measure the dataset's current model on the same images: its name when the new one is worse, and a
    sentence. A model with other labels cannot be compared.
    """
    with attempt.runtime.sessions() as session:
        current = models.current(session, attempt.task.dataset_id)
    if current is None or current.plugin != attempt.plugin.name or current.labels != attempt.task.labels:
        return "", ""
    try:
        predictor = _open_previous(attempt, current)
    except (ModelInvalid, PluginError) as error:
        attempt.record.log(f"Not compared with {current.name}, which cannot be opened: {error}")
        return "", f"not compared with {current.name}, which cannot be opened"
    before = _measure(attempt, prepared, predictor, examples)
    headline = attempt.plugin.headline
    note = side_by_side(headline, current.name, before, evaluation, len(examples))
    if evaluation.metrics[headline] < before.metrics[headline]:
        return current.name, f"worse: {note}"
    return "", note


def side_by_side(headline: str, name: str, before: Evaluation, after: Evaluation, images: int) -> str:
    """How a model stands against the one of this name, both measured on the same images, and whether so few
    images can tell.
    """
    old, new = before.metrics[headline], after.metrics[headline]
    note = f"{headline} {new:.3f} against {old:.3f} of {name} on the same {images} images"
    changed = flips(before.answers, after.answers)
    if not changed.images:
        return note
    counts = f"{len(changed.better)} better, {len(changed.worse)} worse"
    return f"{note}: {counts}{', which may be chance' if may_be_chance(changed.p_value) else ''}"


def _open_previous(attempt: Attempt, model: Model) -> Predictor:
    opened = previous.open_bundle(attempt, model.name, model.digest)
    return open_predictor(attempt.plugin, opened.folder, opened.manifest.model, attempt)
