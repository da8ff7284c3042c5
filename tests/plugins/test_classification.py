"""The classifier on crops of real photographs."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from plugins import images, registry
from plugins.classification import augment, bases, cache, exporter, rare
from plugins.classification.evaluate import evaluate
from plugins.classification.labeling import config, label_from_result
from plugins.classification.predictor import open_predictor
from plugins.classification.preprocess import fitting_size
from plugins.classification.trainer import train
from plugins.classification.trainer.finetune import RECIPE, FineTuning, weighted_cross_entropy
from plugins.contract import (
    Draft,
    Evaluation,
    Example,
    Label,
    Output,
    PluginError,
    Prediction,
    TrainingStopped,
)
from plugins.fitting import Share
from tests.plugins import photographs
from tests.plugins.context import MemoryContext, example

ALGORITHM = registry.algorithm("classification-high-performance")[1]


def context_of(folder: Path, examples: list[Example], data: dict[str, bytes], **values: Any) -> MemoryContext:
    params = registry.parse_params(ALGORITHM, {"image_size": 64, "epochs": 1, **values})
    labels = tuple(sorted({str(one.label) for one in examples}))
    return MemoryContext(folder, params, labels, examples, data)


def evaluation_of(context: MemoryContext, draft: Draft) -> Evaluation:
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    examples = context.examples("validation")
    decoded = [images.decode(context.read(one), wanted_side=predictor.wanted_side) for one in examples]
    return evaluate(examples, predictor.predict(decoded))


def test_the_head_alone_knows_three_materials(tmp_path: Path) -> None:
    context = context_of(tmp_path, *photographs.materials(train=8, validation=4), fine_tune=False)
    draft = train(context)
    assert evaluation_of(context, draft).metrics["accuracy"] >= 0.8
    assert context.facts["stage"] == "head" and draft.facts["stage"] == "head"
    assert draft.base["sha256"] == bases.LITE0.sha256


def test_fine_tuning_is_not_worse_than_its_start(tmp_path: Path) -> None:
    context = context_of(tmp_path, *photographs.materials(train=8, validation=4), epochs=2)
    draft = train(context)
    rows = {
        name: [row["value"] for row in context.rows if row["name"] == name]
        for name in ("validation_loss", "loss", "accuracy", "learning_rate", "images_per_second")
    }
    assert all(rows.values())
    assert evaluation_of(context, draft).metrics["log_loss"] <= rows["validation_loss"][0] + 1e-3


def test_two_images_a_class_and_one_to_validate_are_enough(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=2, validation=1)
    chosen = [one for one in examples if one.split == "train"] + [examples[2]]
    context = context_of(tmp_path, chosen, data)
    assert evaluation_of(context, train(context)).metrics["examples"] == 1


def test_no_validation_at_all_is_enough(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=2, validation=0)
    assert train(context_of(tmp_path, examples, data)).model["labels"] == list(photographs.MATERIALS)


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    files = []
    for name in ("one", "other"):
        draft = train(context_of(tmp_path / name, *photographs.materials(train=3, validation=1)))
        files.append((draft.folder / "model.onnx").read_bytes())
    assert files[0] == files[1]


def test_images_of_every_kind_are_trained_on(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=2, validation=1)
    crop = photographs.crop("grass", 9)
    deep = Image.fromarray(np.asarray(crop).astype(np.uint16) * 257)
    kinds = {
        "grey.png": photographs.encode(crop, "PNG"),
        "cmyk.jpg": photographs.encode(crop.convert("CMYK")),
        "deep.png": photographs.encode(deep, "PNG"),
        "alpha.png": photographs.encode(crop.convert("RGBA"), "PNG"),
        "palette.png": photographs.encode(crop.convert("P"), "PNG"),
        "tall.png": photographs.encode(crop.crop((0, 0, 30, 96)), "PNG"),
    }
    for key, content in kinds.items():
        examples.append(example(key, content, "grass", "train"))
    context = context_of(tmp_path, examples, {**data, **kinds}, fine_tune=False)
    train(context)
    assert context.facts["train_images"] == 12


def test_a_damaged_image_is_left_out_with_a_line(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=3, validation=1)
    data["brick/0.jpg"] = data["brick/0.jpg"][:200]
    data["brick/3.jpg"] = b""
    context = context_of(tmp_path, examples, data, fine_tune=False)
    train(context)
    assert (context.facts["train_images"], context.facts["validation_images"]) == (8, 2)
    assert [line.split(" is left out")[0] for line in context.lines if "left out" in line] == [
        "brick/0.jpg",
        "brick/3.jpg",
    ]


def test_what_cannot_be_decoded_leaves_too_few_classes(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=2, validation=1)
    broken = {one.key for one in examples if one.label != "brick"}
    context = context_of(tmp_path, examples, {key: b"" if key in broken else data[key] for key in data})
    with pytest.raises(PluginError, match="label more images") as refusal:
        train(context)
    assert refusal.value.code == "too_few_images"


def test_a_class_without_images_is_never_predicted(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=3, validation=1)
    context = context_of(tmp_path, [one for one in examples if one.label != "brick"], data, fine_tune=False)
    context.labels = photographs.MATERIALS
    draft = train(context)
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    (answer,) = predictor.predict([images.decode(data["brick/3.jpg"])])
    assert answer.outputs[-1].label == "brick" and answer.outputs[-1].conf < 0.01


@pytest.mark.parametrize("labels, code", [(("brick",), "too_few_classes"), (("a", "b"), "too_few_images")])
def test_what_cannot_be_learned_is_refused(tmp_path: Path, labels: tuple[str, ...], code: str) -> None:
    context = context_of(tmp_path, *photographs.materials(train=2, validation=1))
    context.labels = labels
    with pytest.raises(PluginError) as refusal:
        train(context)
    assert refusal.value.code == code


@pytest.mark.parametrize("asked", [1, 4, 5])
def test_stopping_before_there_is_a_model_keeps_nothing(tmp_path: Path, asked: int) -> None:
    context = context_of(tmp_path, *photographs.materials(train=24, validation=1))
    context.stop_at = asked
    with pytest.raises(TrainingStopped):
        train(context)


@pytest.mark.parametrize("asked", [7, 9, 20])
def test_stopping_keeps_the_best_within_seconds(tmp_path: Path, asked: int) -> None:
    context = context_of(tmp_path, *photographs.materials(train=24, validation=2), epochs=50)
    context.stop_at = asked
    asked_at: list[float] = []
    ask = context.should_stop

    def should_stop() -> bool:
        if answer := ask():
            asked_at.append(time.process_time())
        return answer

    context.should_stop = should_stop  # type: ignore[method-assign]
    evaluation_of(context, train(context))
    assert time.process_time() - asked_at[0] < 20  # the 50 epochs would take minutes


def test_a_killed_training_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples, data = photographs.materials(train=6, validation=2)
    context = context_of(tmp_path, examples, data, epochs=3)
    report, monkey = context.report, {"armed": True}

    def killed(name: str, value: float, *, epoch: float) -> None:
        if monkey["armed"] and epoch >= 2:
            raise KeyboardInterrupt
        report(name, value, epoch=epoch)

    context.report = killed  # type: ignore[method-assign]
    monkeypatch.setattr("plugins.classification.trainer.finetune.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(context)
    monkey["armed"] = False
    train(context)
    assert "Continuing after 1.5 of 3 epochs." in context.lines


def test_time_left_is_used_for_another_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(RECIPE, views=24, least_epochs=2, rounds=2)
    monkeypatch.setattr("plugins.classification.trainer.finetune.RECIPE", short)
    context = context_of(tmp_path, *photographs.materials(train=4, validation=2), epochs=None)
    train(context)
    assert (context.facts["rounds"], context.facts["epochs"]) == (2, 4.0)
    epochs = [row["epoch"] for row in context.rows if row["name"] == "learning_rate"]
    assert epochs == [1.0, 2.0, 3.0, 4.0]
    again = context_of(tmp_path, *photographs.materials(train=4, validation=2), epochs=None)
    train(again)  # a worker that was lost while it exported
    assert again.facts["rounds"] == 2
    assert not [row for row in again.rows if row["name"] == "learning_rate"]


def test_a_round_that_diverges_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = replace(RECIPE, views=24, least_epochs=2, rounds=3)
    monkeypatch.setattr("plugins.classification.trainer.finetune.RECIPE", short)
    context = context_of(tmp_path, *photographs.materials(train=4, validation=2), epochs=None)
    loss = FineTuning.loss
    monkeypatch.setattr(
        FineTuning, "loss", lambda self, batch: loss(self, batch) * (torch.nan if self.seed == 1 else 1)
    )
    train(context)
    assert (context.facts["rounds"], context.facts["epochs"], context.facts["ending"]) == (1, 2.0, "finished")
    assert "Round 2 diverged and does not count." in context.lines


def test_a_worker_that_is_lost_after_the_time_is_up_costs_nothing(tmp_path: Path) -> None:
    made = photographs.materials(train=4, validation=2)
    first = context_of(tmp_path, *made, epochs=2)
    draft = train(first)
    assert (first.facts["stage"], draft.facts["stage"]) == ("fine-tuned", "fine-tuned")
    again = context_of(tmp_path, *made, epochs=2)
    again.budget = -1.0
    assert train(again).facts["stage"] == "fine-tuned"
    assert again.facts["epochs"] == first.facts["epochs"]
    assert again.facts["fine_tuned_share"] == first.facts["fine_tuned_share"]


def test_a_stop_before_the_attempt_judges_what_the_former_one_has_trained(tmp_path: Path) -> None:
    made = photographs.materials(train=4, validation=2)
    train(context_of(tmp_path, *made, epochs=2))
    again = context_of(tmp_path, *made, epochs=2)
    again.stop_at = 1
    evaluation_of(again, train(again))
    assert again.facts["epochs"] == 2
    assert not [row for row in again.rows if row["name"] == "learning_rate"]


@pytest.mark.parametrize("base, both_ways", [(bases.LITE0, False), (bases.LITE0, True), (bases.LITE2, True)])
def test_the_exported_model_is_the_network(base: bases.Base, both_ways: bool, tmp_path: Path) -> None:
    network = bases.load(base, 3)
    network.both_ways = both_ways
    torch.nn.init.normal_(network.head.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    for size in (64, 96):
        model = exporter.export(network, ("a", "b", "c"), size, tmp_path)
        onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
        rows = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)
        with torch.inference_mode():
            expected = torch.softmax(network(exporter.to_input(rows, "cpu")), 1).numpy()
        predictor = open_predictor(tmp_path, model, threads=1)
        given, features, maps = predictor.outputs(rows, "probabilities", "features", "maps")
        np.testing.assert_allclose(given, expected, atol=1e-5)
        np.testing.assert_allclose(maps.mean((2, 3)), features, atol=1e-4)
        if both_ways:
            mirrored = predictor.probabilities(np.ascontiguousarray(rows[:, :, ::-1]))
            np.testing.assert_allclose(mirrored, given, atol=1e-5)


def test_high_precision_looks_at_both_ways_and_is_the_larger_base(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=4, validation=2)
    context = context_of(tmp_path, examples, data)
    context.algorithm = "classification-high-precision"
    context.offline = True
    context.params = registry.parse_params(
        registry.algorithm(context.algorithm)[1], {"image_size": 64, "epochs": 1}
    )
    draft = train(context)
    assert draft.base["name"] == "efficientnet-lite2" and draft.facts["mirror_images"] in (True, False)
    assert evaluation_of(context, draft).metrics["examples"] == 6


def test_an_export_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = bases.load(bases.LITE0, 3)
    torch.nn.init.normal_(network.head.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(exporter, "to_input", lambda rows, device: torch.zeros(len(rows), 3, 64, 64))
    with pytest.raises(PluginError) as refusal:
        exporter.export(network, ("a", "b", "c"), 64, tmp_path)
    assert refusal.value.code == "export_differs"


def test_changed_base_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = (({"sha256": "0" * 64}, "weights_changed"), ({"package": "not_there"}, "weights_missing"))
    for change, code in changes:
        with pytest.raises(PluginError) as refusal:
            bases.load(bases.Base(**{**vars(bases.LITE0), **change}), 2)
        assert refusal.value.code == code


def test_a_damaged_model_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(PluginError) as refusal:
        open_predictor(tmp_path, {"file": "model.onnx", "labels": ["a"], "image_size": 64}, threads=1)
    assert refusal.value.code == "model_unreadable"


def test_views_are_the_same_for_the_same_seed_and_differ_otherwise() -> None:
    image = photographs.upright_colours(1)[0]
    views = [augment.view(image, 48, augment.Policy(), np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert views[0].shape == (48, 48, 3)
    assert np.array_equal(views[0], views[1]) and not np.array_equal(views[0], views[2])


def test_the_tamest_view_is_the_image_itself() -> None:
    image = np.asarray(photographs.crop("brick", 0, 64).convert("RGB"))
    tame = augment.Policy(area=1.0, stretch=1.0, turn=0, light=0, colour=0, flip=False)
    assert np.array_equal(augment.view(image, 64, tame, np.random.default_rng(0)), image)


def test_rare_classes_count_more() -> None:
    weights = rare.class_weights(np.array([0] * 9 + [1]), 2)
    assert weights[1] == pytest.approx(3 * weights[0])
    assert (9 * weights[0] + weights[1]) / 10 == pytest.approx(1)


@pytest.mark.parametrize("side, size", [(8, 128), (28, 128), (100, 160), (224, 224), (4000, 224)])
def test_the_input_size_follows_the_images(side: int, size: int) -> None:
    assert fitting_size(side) == size


def test_the_input_size_follows_all_folders_and_not_the_first(tmp_path: Path) -> None:
    sizes = [16] * 80 + [240] * 120  # of folders in the order of their names
    data = {
        f"{n:03}.png": photographs.encode(Image.new("L", (side, side)), "PNG") for n, side in enumerate(sizes)
    }
    examples = [example(key, content, "brick", "train") for key, content in data.items()]
    assert cache.choose_size(context_of(tmp_path, examples, data)) == 224


def test_smoothing_does_not_teach_the_rare_class_everywhere() -> None:
    weights = torch.tensor([0.1, 1.0])
    scores = torch.zeros(1, 2, requires_grad=True)
    optimizer = torch.optim.SGD([scores], 1.0)
    for _ in range(500):
        optimizer.zero_grad()
        weighted_cross_entropy(scores, torch.tensor([0]), weights, 0.1).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert scores.softmax(1)[0].tolist() == pytest.approx([0.95, 0.05], abs=1e-3)


def test_training_adds_what_was_taken_back_of_rare_classes(tmp_path: Path) -> None:
    """A network without the excess learns what the same network with it would, so it stays without it."""
    examples, data = photographs.materials(train=3, validation=1)
    context = context_of(tmp_path, examples[:8], data)
    sides = {split: cache.decode(context, split, 64) for split in ("train", "validation")}
    network = bases.load(bases.LITE0, len(context.labels))
    excess = np.array([-0.5, 1.5], np.float32)
    losses = []
    for taken, added in ((excess, excess), (0 * excess, 0 * excess)):
        with torch.no_grad():
            network.head.weight.zero_()
            network.head.bias.copy_(torch.from_numpy(-taken))
        work = FineTuning(context, network, sides, RECIPE, augment.Policy(), 0, excess=added)
        torch.manual_seed(0)
        losses.append(work.loss(next(iter(work.batches(0, 0, Share())))).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_rare_images_weigh_as_their_class() -> None:
    scores, targets = torch.tensor([[2.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])
    losses = torch.nn.functional.cross_entropy(scores, targets, reduction="none")
    loss = weighted_cross_entropy(scores, targets, torch.tensor([1.0, 3.0]), 0.0)
    assert loss.item() == pytest.approx((losses[0] + 3 * losses[1]).item() / 4)


def test_what_the_check_has_let_in_is_trained_on_whatever_its_size(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=3, validation=1)
    large = np.random.default_rng(0).integers(0, 256, (2700, 2700, 3), np.uint8)
    data["brick/0.jpg"] = photographs.encode(Image.fromarray(large), "PNG", compress_level=0)
    assert len(data["brick/0.jpg"]) > images.DEFAULT_LIMITS.max_bytes
    context = context_of(tmp_path, examples, data, fine_tune=False)
    train(context)
    assert context.facts["train_images"] == 9


def test_the_temperature_is_that_of_the_scores_as_they_were_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    examples, data = photographs.materials(train=4, validation=3)
    examples = [replace(one, label="grass") if one.key == "brick/5.jpg" else one for one in examples]
    alone = context_of(first, examples, data, fine_tune=False)
    train(alone)
    monkeypatch.setattr("plugins.classification.trainer.fine_tune", lambda *_, **__: "head")
    kept = context_of(second, examples, data)
    train(kept)
    assert kept.facts["temperature"] == alone.facts["temperature"] != 1.0


def test_mistakes_are_listed_with_the_most_confident_first() -> None:
    examples = [example(f"{n}.jpg", bytes([n]), "a", "validation") for n in range(3)]
    answers = [Prediction((Output("b", c), Output("a", 1 - c))) for c in (0.6, 0.9)]
    evaluation = evaluate(examples, [*answers, Prediction((Output("a", 1.0), Output("b", 0.0)))])
    assert [row["key"] for row in evaluation.details["mistakes"]] == ["1.jpg", "0.jpg"]
    assert evaluation.metrics["accuracy"] == pytest.approx(1 / 3)
    assert evaluation.details["confusion"] == [[1, 2], [0, 0]]


def test_label_names_cannot_break_the_configuration() -> None:
    assert "&lt;x&gt;" in config(["<x>\x00"]) and "\x00" not in config(["<x>\x00"])


def test_regions_of_other_controls_are_ignored() -> None:
    regions = [
        {"from_name": "other", "type": "choices", "value": {"choices": ["x"]}},
        {"from_name": "choice", "type": "choices", "value": {"choices": []}},
        {"from_name": "choice", "type": "textarea", "value": {"text": ["x"]}},
        {"from_name": "choice", "type": "choices", "value": {"choices": ["rose"]}},
    ]
    assert label_from_result(regions, width=64, height=48) == Label("rose")
