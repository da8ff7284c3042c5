"""A whole training of a reader: what it refuses, what it keeps, and what a stop or a second attempt gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from plugins import images
from plugins.contract import PluginError, Region, TrainingStopped
from plugins.ocr import bases, trainer
from plugins.ocr.params import OcrParams
from plugins.ocr.predictor import open_predictor
from plugins.ocr.predictor.network import Network
from plugins.ocr.trainer import int8, pages
from plugins.ocr.trainer.beginning import Beginning
from plugins.ocr.trainer.judging import Judge
from plugins.ocr.trainer.stages import Stages
from tests.plugins.context import MemoryContext
from tests.plugins.ocr_pages import TinyDetector, TinyRecogniser, context_of, page

QUICK = {"detector_epochs": 1, "recogniser_epochs": 1, "input_side": 256}


def context(folder: Path, **params: Any) -> MemoryContext:
    made = [page(number, "train" if number < 3 else "validation") for number in range(4)]
    return context_of(folder, made, OcrParams(**{**QUICK, **params}))


@pytest.fixture(autouse=True)
def only_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Int8 takes longer than these trainings, and has tests of its own (`test_ocr_int8`)."""
    monkeypatch.setattr(int8, "offer", lambda context, folder, model, side, validation: (model, {}))


def test_what_is_trained_reads_pages_that_it_has_not_seen(tmp_path: Path) -> None:
    made = context(tmp_path)
    draft = trainer.train(made)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    (unseen,) = made.examples("validation")
    (answer,) = predictor.predict([images.decode(made.read(unseen))])
    assert [output.label for output in answer.outputs] == ["A37", "B 3"]
    assert draft.base["name"] == "pp-ocrv6-small" and "Apache-2.0" in draft.base["attribution"]
    assert {"detector_epochs", "recogniser_epochs", "thresholds"} <= made.facts.keys()
    names = {row["name"] for row in made.rows}
    assert {"validation_end_to_end_f1", "detector_loss", "recogniser_loss"} <= names
    assert not list(tmp_path.glob("tmp*"))


def test_what_training_makes_worse_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = context(tmp_path)
    measure, asked = Judge.measured, []

    def worse(judge: Judge, *args: Any) -> dict[str, float]:
        asked.append(args)
        found = dict(measure(judge, *args))
        return found if len(asked) == 1 else dict.fromkeys(found, 0.0)

    monkeypatch.setattr(Judge, "measured", worse)
    draft = trainer.train(made)
    assert draft.facts["trained"] is False and made.facts["kept"] == "pretrained networks"
    assert any("made it worse" in line for line in made.lines)
    assert draft.model["detector"]["thresholds"]["unclip_ratio"] == 1.6


def test_where_training_fails_the_base_is_fitted_to_the_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(stages: Stages) -> None:
        for parameter in stages.detector.parameters():
            parameter.data.zero_()

    monkeypatch.setattr(Stages, "find", spoil)
    made = context(tmp_path)
    made.snapshot = [
        replace(one, regions=tuple(wider(region) for region in one.regions)) for one in made.snapshot
    ]
    draft = trainer.train(made)
    assert draft.facts["trained"] is False and made.facts["kept"] == "pretrained networks"
    assert made.facts["thresholds"]["unclip_ratio"] > 1.6
    assert draft.model["detector"]["thresholds"] == made.facts["thresholds"]


def wider(region: Region) -> Region:
    """Boxes drawn with so much room that the usual ones do not fit them."""
    (left, top), _, (right, bottom), _ = region.points
    points = ((left - 9, top - 9), (right + 9, top - 9), (right + 9, bottom + 9), (left - 9, bottom + 9))
    return replace(region, points=points)


@pytest.mark.parametrize("after", range(1, 80, 13))
def test_after_a_stop_no_network_looks_at_another_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    made, late = context(tmp_path, detector_epochs=100, recogniser_epochs=100), []
    run = Network.run

    def counted(network: Network, rows: Any) -> Any:
        if asked_to_stop(made):
            late.append(rows)
        return run(network, rows)

    monkeypatch.setattr(Network, "run", counted)
    made.stop_at = made.asked + after
    try:
        trainer.train(made)
    except TrainingStopped as stopped:
        assert "before there was a model" in str(stopped)  # the networks were not loaded yet
    # The export compares each file with its network on one image; reading one image takes a few batches.
    assert len(late) <= 6


def asked_to_stop(made: MemoryContext) -> bool:
    return made.stop_at is not None and made.asked >= made.stop_at


def test_without_validation_images_the_log_says_what_judges(tmp_path: Path) -> None:
    made = context(tmp_path, fine_tune=False)
    made.snapshot = [one for one in made.snapshot if one.split == "train"]
    trainer.train(made)
    assert any("no validation image" in line for line in made.lines)


def test_validation_images_without_text_judge_nothing(tmp_path: Path) -> None:
    made = context(tmp_path, fine_tune=False)
    made.snapshot = [replace(one, regions=()) if one.split == "validation" else one for one in made.snapshot]
    trainer.train(made)
    assert any("no text on the validation images" in line for line in made.lines)
    assert made.facts["base_end_to_end_f1"] > 0


def test_without_fine_tuning_only_characters_and_boxes_are_fitted(tmp_path: Path) -> None:
    made = context(tmp_path, fine_tune=False)
    draft = trainer.train(made)
    assert "detector_epochs" not in made.facts
    assert 90 < len(draft.model["vocabulary"]) < 100  # the labels', the ASCII of the base, and the space


def test_a_second_attempt_does_not_train_again(tmp_path: Path) -> None:
    first = trainer.train(context(tmp_path))
    again = context(tmp_path)
    second = trainer.train(again)
    assert not [row for row in again.rows if row["name"].endswith("_loss")]
    assert second.facts == first.facts and second.model == first.model


def test_a_worker_that_is_lost_after_the_time_is_up_costs_nothing(tmp_path: Path) -> None:
    first = trainer.train(context(tmp_path))
    again = context(tmp_path)
    again.budget = -1.0
    second = trainer.train(again)
    assert second.facts == first.facts
    assert (tmp_path / "draft" / "recogniser.onnx").is_file()
    assert again.facts["recogniser_epochs"] == 1 and again.facts["kept"] == "trained networks"
    before, after = (one.model["recogniser"] for one in (first, second))
    assert before == after


@pytest.mark.parametrize("asked", [5, 40])
def test_a_stop_keeps_what_there_is(tmp_path: Path, asked: int) -> None:
    made = context(tmp_path, detector_epochs=100, recogniser_epochs=100)
    made.stop_at = asked
    draft = trainer.train(made)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    assert predictor.predict([images.decode(made.read(made.snapshot[0]))])[0].outputs


def test_a_stop_before_the_attempt_keeps_what_the_former_one_has_trained(tmp_path: Path) -> None:
    trainer.train(context(tmp_path))
    again = context(tmp_path)
    again.stop_at = 1
    trainer.train(again)
    assert again.facts["recogniser_epochs"] == 1 and again.facts["kept"] == "trained networks"


def test_a_stop_after_a_worker_was_lost_keeps_the_detector_that_it_had_trained(tmp_path: Path) -> None:
    trainer.train(context(tmp_path))
    for left in ("thresholds.safetensors", "recogniser-fitted.safetensors", "recogniser.safetensors"):
        (tmp_path / left).unlink(missing_ok=True)
    again = context(tmp_path)
    again.stop_at = 1
    trainer.train(again)
    assert again.facts["kept"] == "trained networks" and again.facts["detector_epochs"] == 1
    assert not any("before anything was trained" in line for line in again.lines)


def test_looking_for_texts_takes_a_small_share_of_the_time_to_read(tmp_path: Path) -> None:
    made = context(tmp_path)
    side = pages.pages(made, "train")
    detector, recogniser = TinyDetector(), TinyRecogniser(("A", " "))
    began = Beginning(after_detector=900.0, after_recogniser=100.0, page_seconds=10.0, metrics={})
    stages = Stages(made, side, [], detector, recogniser, Judge(made, side), began)
    assert stages.found_in() == 100  # without a time budget
    made.budget = 600.0
    assert 6 <= stages.found_in() <= 7
    made.budget = 100.0
    assert stages.found_in() == 0


def test_images_without_text_are_refused_with_what_to_do(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.snapshot = [replace(one, regions=()) for one in made.snapshot]
    with pytest.raises(PluginError, match="label some") as refusal:
        trainer.train(made)
    assert refusal.value.code == "no_text"


def test_training_from_nothing_needs_many_texts(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="20,000 texts, there are 6") as refusal:
        trainer.train(context(tmp_path, base="scratch"))
    assert refusal.value.code == "too_few_texts"


def test_new_characters_are_told_and_learned(tmp_path: Path) -> None:
    made = context(tmp_path, fine_tune=False)
    first = made.snapshot[0]
    odd = (replace(first.regions[0], text="A\u1d2007"), *first.regions[1:])
    made.snapshot = [replace(first, regions=odd), *made.snapshot[1:]]
    draft = trainer.train(made)
    assert "\u1d20" in draft.model["vocabulary"]
    assert any("1 characters are new" in line for line in made.lines)


def test_a_character_of_the_labels_script_can_be_read_without_an_example(tmp_path: Path) -> None:
    made = context(tmp_path, fine_tune=False)
    first = made.snapshot[0]
    odd = (replace(first.regions[0], text="\u4eacA007"), *first.regions[1:])
    made.snapshot = [replace(first, regions=odd), *made.snapshot[1:]]
    draft = trainer.train(made)
    assert {"\u4eac", "\u6caa"} <= set(draft.model["vocabulary"])
    assert any("more characters of the pretrained network are kept" in line for line in made.lines)


def test_an_image_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.data[made.snapshot[1].key] = b"no image"
    assert trainer.train(made).facts["train_images"] == 3


def test_a_stop_that_discards_leaves_nothing(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.stop_at, made.discard = 12, True
    with pytest.raises(TrainingStopped):
        trainer.train(made)
    assert not (tmp_path / "draft").exists()


def test_a_detector_looks_at_the_images_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, looked = context(tmp_path), []
    judge, detector = (
        Judge(made, pages.pages(made, "train")),
        bases.load("pp-ocrv6-small", None, True).detector,
    )
    run = Network.run

    def counted(network: Network, rows: Any) -> Any:
        looked.append(rows)
        return run(network, rows)

    monkeypatch.setattr(Network, "run", counted)
    first = judge.maps(detector)
    assert judge.maps(detector) is first and len(looked) == len(first) == 3
    with torch.no_grad():
        next(detector.parameters()).mul_(1.1)
    second = judge.maps(detector)
    assert len(looked) == 6
    assert any((one.values != other.values).any() for one, other in zip(first, second, strict=True))
