"""A trained classifier and what it learned to be trusted with, through the code that serves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from plugins import images, registry
from plugins.classification import cache, trust_fitting
from plugins.classification.predictor import open_predictor
from plugins.classification.trainer import train
from plugins.classification.trainer.finish import in_words, tells_of_all
from plugins.contract import Decision
from tests.plugins import photographs
from tests.plugins.context import MemoryContext

ALGORITHM = registry.algorithm("classification-high-performance")[1]


def test_a_trained_model_decides(tmp_path: Path) -> None:
    params = registry.parse_params(ALGORITHM, {"image_size": 64, "fine_tune": False})
    examples, data = photographs.materials(train=12, validation=6)
    context = MemoryContext(tmp_path, params, photographs.MATERIALS, examples, data)
    draft = train(context)
    sides = {split: cache.decode(context, split, 64) for split in ("train", "validation")}
    unseen = trust_fitting.Answers(np.eye(3, dtype=np.float32), None, np.arange(3))
    entry = trust_fitting.fit_draft(draft.folder, draft.model, sides, out_of_fold=unseen, precision=0.9)
    assert sum(one["images"] for one in entry["fitted_on"].values()) >= 15
    predictor = open_predictor(draft.folder, {**draft.model, "trust": entry}, threads=1)
    validation = [images.decode(context.read(one)) for one in context.examples("validation")]
    decisions = [answer.decision for answer in predictor.predict(validation)]
    assert all(isinstance(decision, Decision) for decision in decisions)
    assert sum(decision is not None and decision.label is not None for decision in decisions) >= 9
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    flat = Image.new("RGB", (64, 64), (250, 20, 200))
    strange = [images.decode(photographs.encode(image, "PNG")) for image in (noise, flat)]
    for answer in predictor.predict(strange):
        assert answer.decision is not None and answer.decision.label is None


def test_no_validation_images_are_enough_for_a_draft(tmp_path: Path) -> None:
    params = registry.parse_params(ALGORITHM, {"image_size": 64, "fine_tune": False})
    examples, data = photographs.materials(train=2, validation=0)
    context = MemoryContext(tmp_path, params, photographs.MATERIALS, examples, data)
    draft = train(context)
    sides = {split: cache.decode(context, split, 64) for split in ("train", "validation")}
    entry = trust_fitting.fit_draft(draft.folder, draft.model, sides, out_of_fold=None, precision=0.9)
    assert set(entry["thresholds"].values()) == {0.9}


def test_cross_validation_among_a_few_of_many_classes_says_so() -> None:
    """Eighty classes are easier to tell apart than five hundred: no threshold is fitted to that."""
    rows = trust_fitting.Answers(np.eye(80, 500, dtype=np.float32), None, np.arange(80))
    assert in_words(rows, 500) == "100.0% of 80 images (95.4% to 100.0%) among 80 of the 500 classes"
    assert not tells_of_all(rows, 500)
    assert tells_of_all(rows, 81) and "among" not in in_words(rows, 81)
