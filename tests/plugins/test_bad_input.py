"""What a training makes of input that nobody should give it: a model, a warning or a refusal."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from plugins import images, registry
from plugins.classification import usefulness
from plugins.classification.bases import Network
from plugins.classification.evaluate import evaluate
from plugins.classification.plots import illustrate
from plugins.classification.predictor import open_predictor
from plugins.classification.trainer import train
from plugins.classification.trainer.finetune import FineTuning
from plugins.contract import Draft, Evaluation, Example, PluginError, Split, TrainingStopped
from tests.plugins import photographs
from tests.plugins.context import MemoryContext, example

ALGORITHM = registry.algorithm("classification-high-performance")[1]
Bytes = dict[str, bytes]


def context_of(folder: Path, examples: list[Example], data: Bytes, **values: Any) -> MemoryContext:
    params = registry.parse_params(ALGORITHM, {"image_size": 64, "fine_tune": False, **values})
    labels = tuple(sorted({str(one.label) for one in examples}))
    return MemoryContext(folder, params, labels, examples, data)


@pytest.fixture
def without_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to quantise: int8 has tests of its own and takes most of the time of a small training."""
    monkeypatch.setattr("plugins.quantisation.quantiser.convolutions", lambda network: [])


def answers_of(context: MemoryContext, draft: Draft, split: Split = "validation") -> Evaluation:
    """What the exported model is worth on images as they lie in the store."""
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    examples = context.examples(split)
    decoded = [images.decode(context.read(one), wanted_side=predictor.wanted_side) for one in examples]
    return evaluate(examples, predictor.predict(decoded) if decoded else [])


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return photographs.encode(Image.fromarray(pixels), "PNG")


def patches(classes: int, train: int, validation: int) -> tuple[list[Example], Bytes]:
    """Small coloured patterns, another one for each class, a little noise for each image."""
    random = np.random.default_rng(0)
    examples, data = [], {}
    for number in range(classes):
        pattern = random.integers(0, 256, (4, 4, 3))
        for count in range(train + validation):
            noisy = np.clip(pattern + random.integers(-25, 26, pattern.shape), 0, 255).astype(np.uint8)
            key = f"class {number:03}/{count}.png"
            data[key] = png(np.kron(noisy, np.ones((8, 8, 1), np.uint8)))
            examples.append(
                example(key, data[key], f"class {number:03}", "train" if count < train else "validation")
            )
    return examples, data


def relabelled(one: Example, label: str) -> Example:
    return replace(one, label=label)


# How many images, of how many classes


@pytest.mark.usefixtures("without_int8")
def test_a_hundred_classes_of_two_images_are_learned(tmp_path: Path) -> None:
    context = context_of(tmp_path, *patches(classes=100, train=2, validation=1))
    draft = train(context)
    evaluation = answers_of(context, draft)
    illustrate(evaluation, [], tmp_path / "plots")
    assert evaluation.metrics["accuracy"] > 0.5 and "warning" not in draft.facts
    assert evaluation.metrics["ece"] < 0.15


@pytest.mark.usefixtures("without_int8")
def test_where_no_wrong_label_could_be_looked_for_none_is_said_to_be_missing(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=1, validation=2)
    context = context_of(tmp_path, examples, data)
    assert "label_suspects" not in train(context).facts


@pytest.mark.usefixtures("without_int8")
def test_a_rare_class_is_found(tmp_path: Path) -> None:
    examples: list[Example] = []
    data: Bytes = {}
    for name, train_images, validation in (("brick", 100, 6), ("gravel", 1, 5)):
        for number in range(train_images + validation):
            key = f"{name}/{number}.png"
            data[key] = photographs.encode(photographs.crop(name, number, 40), "PNG")
            split: Split = "train" if number < train_images else "validation"
            examples.append(example(key, data[key], name, split))
    context = context_of(tmp_path, examples, data)
    recall = {row["label"]: row["recall"] for row in answers_of(context, train(context)).details["per_class"]}
    assert recall["gravel"] > 0 and recall["brick"] > 0.5


@pytest.mark.usefixtures("without_int8")
def test_a_validation_side_that_lacks_a_class_is_enough(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=5, validation=3)
    kept = [one for one in examples if one.split == "train" or one.label != "grass"]
    context = context_of(tmp_path, kept, data, fine_tune=True, epochs=1)
    draft = train(context)
    evaluation = answers_of(context, draft)
    assert evaluation.metrics["accuracy"] > 0.5 and "warning" not in draft.facts
    assert all(math.isfinite(value) for value in evaluation.metrics.values())


@pytest.mark.parametrize("count", [0, 1])
def test_what_has_no_second_class_is_refused(tmp_path: Path, count: int) -> None:
    examples, data = photographs.materials(train=3, validation=1)
    context = context_of(tmp_path, [one for one in examples if one.label == "brick"][: 4 * count], data)
    context.labels = photographs.MATERIALS
    with pytest.raises(PluginError, match="label more images") as refusal:
        train(context)
    assert refusal.value.code == "too_few_images"


# Images and labels that cannot be learned from


@pytest.mark.parametrize(("size", "accuracies"), [(30, {0.5}), (4, {0.0, 1.0})])
def test_images_that_are_all_the_same_give_a_warning(
    tmp_path: Path, size: int, accuracies: set[float]
) -> None:
    content = png(np.full((40, 40, 3), 90, np.uint8))
    examples, data = [], {}
    for number in range(size):
        key = f"{number}.png"
        data[key] = content
        split: Split = "validation" if number >= size * 2 / 3 else "train"
        examples.append(example(key, content, ("cat", "dog")[number % 2], split))
    context = context_of(tmp_path, examples, data, fine_tune=True, epochs=1)
    draft = train(context)
    assert draft.facts["warning"] == context.facts["warning"] and draft.facts["warning"] in context.lines
    expected = "hardly better than always answering" if size > 4 else "Too few images"
    assert expected in draft.facts["warning"]
    assert answers_of(context, draft).metrics["accuracy"] in accuracies  # all get the same answer


@pytest.mark.usefixtures("without_int8")
def test_labels_at_random_give_a_warning(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=14, validation=6)
    random = np.random.default_rng(3)
    mixed = [relabelled(one, str(random.choice(photographs.MATERIALS))) for one in examples]
    assert "hardly better" in train(context_of(tmp_path, mixed, data)).facts["warning"]


@pytest.mark.usefixtures("without_int8")
@pytest.mark.usefixtures("without_int8")
def test_a_fine_tuned_network_that_knows_nothing_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverged(_context: object, network: Network, *_: object, **__: object) -> str:
        with torch.no_grad():
            network.head.weight.zero_()
        return "fine-tuned"

    monkeypatch.setattr("plugins.classification.trainer.fine_tune", diverged)
    draft = train(context_of(tmp_path, *patches(4, train=8, validation=1), fine_tune=True))
    assert draft.facts["cross_validation_of_the_first_model"].startswith("100")
    assert "8 of 32 images to learn from right" in draft.facts["warning"]


def test_a_model_that_has_learned_is_not_warned_of(tmp_path: Path) -> None:
    assert "warning" not in train(context_of(tmp_path, *photographs.materials(12, 4))).facts


@pytest.mark.parametrize(
    "answers, targets, words",
    [
        ("a" * 20, "ab" * 10, "hardly better than always answering a: it has 10 of 20 images"),
        ("ab" * 10, "ab" * 10, ""),
        ("a" * 94 + "b" * 6, "a" * 97 + "b" * 3, ""),  # fewer right than the constant answer, yet of use
        ("a" * 100, "a" * 97 + "b" * 3, "hardly better"),
        ("abc", "abc", "Too few images"),
        ("a" * 9, "a" * 9, "Too few images"),  # one class tells nothing
        ("", "", "Too few images"),
    ],
)
def test_what_is_hardly_better_than_a_constant_answer(answers: str, targets: str, words: str) -> None:
    given, right = (np.array([ord(letter) - ord("a") for letter in text], int) for text in (answers, targets))
    told = usefulness.warning([usefulness.Unseen(given, right, "of the validation side")], "abc")
    assert told.count(words) and bool(told) == bool(words)


def test_one_side_that_shows_a_use_is_enough() -> None:
    same, apart = np.zeros(20, int), np.arange(20) % 2
    sides = [usefulness.Unseen(same, apart, "here"), usefulness.Unseen(apart, apart, "there")]
    assert usefulness.warning(sides, "ab") == ""


@pytest.mark.usefixtures("without_int8")
def test_a_few_wrong_labels_cost_little_and_are_listed(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=20, validation=5)
    planted = {"brick/3.jpg": "grass", "grass/11.jpg": "gravel", "gravel/17.jpg": "brick"}  # 5 %
    wrong = [relabelled(one, planted.get(one.key, str(one.label))) for one in examples]
    contexts = [context_of(tmp_path / name, some, data) for name, some in (("a", examples), ("b", wrong))]
    drafts = [train(context) for context in contexts]
    clean, dirty = (
        answers_of(context, draft).metrics["accuracy"]
        for context, draft in zip(contexts, drafts, strict=True)
    )
    assert dirty >= clean - 0.07
    listed = {row["key"]: row["predicted"] for row in drafts[1].facts["label_suspects"]}
    assert {key: key.partition("/")[0] for key in planted}.items() <= listed.items()


@pytest.mark.usefixtures("without_int8")
def test_the_same_image_in_two_classes_does_no_harm(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=8, validation=4)
    for name in ("grass", "gravel"):
        data[f"{name}/copy.jpg"] = data["brick/0.jpg"]
        examples.append(example(f"{name}/copy.jpg", data["brick/0.jpg"], name, "train"))
    context = context_of(tmp_path, examples, data)
    assert answers_of(context, train(context)).metrics["accuracy"] >= 0.75


# Files


@pytest.mark.usefixtures("without_int8")
def test_images_turned_by_exif_are_seen_upright(tmp_path: Path) -> None:
    """The class is which half is bright, which only upright images show."""
    examples, data = [], {}
    random = np.random.default_rng(0)
    for number in range(24):
        label = ("above", "below")[number % 2]
        pixels = random.integers(0, 60, (48, 48, 3))
        pixels[:24] += 180 * (label == "above")
        pixels[24:] += 180 * (label == "below")
        picture = Image.fromarray(pixels.astype(np.uint8))
        exif = Image.Exif()
        if number % 4 > 1:
            picture, exif[0x0112] = picture.rotate(180), 3
        stream = BytesIO()
        picture.save(stream, "JPEG", quality=95, exif=exif)
        key = f"{number}.jpg"
        data[key] = stream.getvalue()
        examples.append(example(key, data[key], label, "train" if number < 16 else "validation"))
    context = context_of(tmp_path, examples, data)
    assert answers_of(context, train(context)).metrics["accuracy"] == 1.0


def test_wrong_extensions_and_long_thin_images_are_trained_on(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=2, validation=1)
    strip = photographs.crop("grass", 1).resize((1, 2000))
    odd = {
        "grass/really-a-png.jpg": photographs.encode(photographs.crop("grass", 9), "PNG"),
        "grass/tall.png": photographs.encode(strip, "PNG"),
        "grass/wide.png": photographs.encode(strip.rotate(90, expand=True), "PNG"),
        "grass/no-extension": photographs.encode(photographs.crop("grass", 10)),
    }
    examples += [example(key, content, "grass", "train") for key, content in odd.items()]
    examples += [example(f"v{key}", content, "grass", "validation") for key, content in odd.items()]
    context = context_of(tmp_path, examples, {**data, **odd, **{f"v{key}": odd[key] for key in odd}})
    evaluation = answers_of(context, train(context))
    assert context.facts["train_images"] == 10 and evaluation.metrics["examples"] == 7


@pytest.mark.usefixtures("without_int8")
def test_class_names_of_any_letters_are_kept(tmp_path: Path) -> None:
    names = dict(zip(photographs.MATERIALS, ("<b>|& $x^2$", "Größe 日本語 🌹", "../a\nb"), strict=True))
    examples, data = photographs.materials(train=4, validation=2)
    context = context_of(tmp_path, [relabelled(one, names[str(one.label)]) for one in examples], data)
    draft = train(context)
    evaluation = answers_of(context, draft)
    illustrate(evaluation, context.rows, tmp_path / "plots")
    assert sorted(draft.model["labels"]) == sorted(names.values())
    assert evaluation.metrics["accuracy"] > 0.5 and (tmp_path / "plots" / "confusion.png").is_file()


# A loss that is not a number


@pytest.mark.usefixtures("without_int8")
def test_the_highest_learning_rate_gives_no_model_worse_than_its_start(tmp_path: Path) -> None:
    context = context_of(
        tmp_path, *photographs.materials(train=8, validation=4), fine_tune=True, epochs=2, learning_rate=0.1
    )
    draft = train(context)
    first = next(row["value"] for row in context.rows if row["name"] == "validation_accuracy")
    assert answers_of(context, draft).metrics["accuracy"] >= first


def test_a_loss_that_stays_no_number_is_refused_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tmp_path, *photographs.materials(train=3, validation=1), fine_tune=True, epochs=2)
    loss = FineTuning.loss
    monkeypatch.setattr(FineTuning, "loss", lambda self, batch: loss(self, batch) * torch.nan)
    with pytest.raises(PluginError, match="lower learning rate") as refusal:
        train(context)
    assert refusal.value.code == "loss_not_finite"


# A full disk


@pytest.mark.usefixtures("without_int8")
@pytest.mark.parametrize(
    "file",
    [
        "train-64.pixels",
        "validation-64.json",
        "head.safetensors",
        "checkpoint.safetensors",
        "round-0.safetensors",
        "draft/model.onnx",
        "draft/weights.safetensors",
        "draft/head.npz",
        "draft/trust.npz",
    ],
)
def test_a_full_disk_is_a_sentence_and_the_next_attempt_goes_on(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.classification.trainer.finetune.CHECKPOINT_SECONDS", 0.0)
    context = context_of(
        tmp_path,
        *photographs.materials(train=2, validation=2),
        fine_tune=file.startswith(("checkpoint", "round")),
        epochs=1,
    )
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.symlink_to("/dev/full")  # writing to this device fails as a full disk does
    with pytest.raises(PluginError, match="no space left") as refusal:
        train(context)
    assert refusal.value.code == "disk_full"
    assert not path.exists() and not partial.is_symlink()
    assert answers_of(context, train(context)).metrics["examples"] == 6
    assert not list(tmp_path.rglob(".*.part"))


# A stop in every step


class Stopping(MemoryContext):
    """Notes the CPU time at which the trainer first heard that it should stop."""

    heard: float | None = None

    def stop_requested(self) -> bool:
        if self.heard is None and self.stop_at is not None and self.asked + 1 >= self.stop_at:
            self.heard = time.process_time()
        return super().stop_requested()


def test_a_stop_at_any_question_gives_a_model_or_none(tmp_path: Path) -> None:
    examples, data = photographs.materials(train=4, validation=1)

    def context_for(name: str) -> Stopping:
        context = context_of(tmp_path / name, examples, data, fine_tune=True, epochs=2)
        return Stopping(context.folder, context.params, context.labels, examples, data)

    whole = context_for("whole")
    train(whole)
    kept = 0
    for place, number in enumerate([*range(1, whole.asked, max(1, whole.asked // 6)), whole.asked]):
        context = context_for(str(number))
        context.stop_at, context.discard = number, place % 3 == 2
        try:
            draft = train(context)
        except TrainingStopped:
            draft = None
        assert context.heard is not None and time.process_time() - context.heard < 20
        assert draft is None or not context.discard
        if draft:
            kept += 1
            assert answers_of(context, draft).metrics["examples"] == 3
    assert kept >= 2
