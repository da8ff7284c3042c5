"""Going on from the model before: when it fits, what is kept, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from plugins import images, registry
from plugins.classification import bases, cache
from plugins.classification.cache import Images
from plugins.classification.evaluate import evaluate
from plugins.classification.predictor import open_predictor
from plugins.classification.trainer import previous as module
from plugins.classification.trainer import train
from plugins.classification.trainer.finetune import Recipe
from plugins.classification.trainer.previous import WEIGHTS, is_new, recipe_for, take_over
from plugins.contract import Draft, Example, PluginError, Previous
from tests.plugins import photographs
from tests.plugins.context import MemoryContext

ALGORITHM = registry.algorithm("classification-high-performance")[1]
SIZE = 64


def context_of(
    folder: Path, examples: list[Example], data: dict[str, bytes], previous: Previous | None, **values: Any
) -> MemoryContext:
    params = registry.parse_params(ALGORITHM, {"image_size": SIZE, "epochs": 1, **values})
    labels = tuple(sorted({str(one.label) for one in examples}))
    folder.mkdir(parents=True, exist_ok=True)
    return MemoryContext(folder, params, labels, examples, data, previous=previous)


def opened(context: MemoryContext, draft: Draft) -> Previous:
    trained = dict(context.previous.trained) if context.previous and "parent" in draft.facts else {}
    trained |= {one.content_hash: one.label for one in context.examples("train")}
    return Previous(
        name=context.folder.name,
        digest="0" * 64,
        folder=draft.folder,
        model=draft.model,
        base=draft.base,
        facts=draft.facts,
        parameters=asdict(context.params),
        trained=trained,
    )


def decoded(context: MemoryContext) -> dict[str, Images]:
    return {split: cache.decode(context, split, SIZE) for split in ("train", "validation")}


def log_loss(context: MemoryContext, draft: Draft) -> float:
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    examples = context.examples("validation")
    shown = [images.decode(context.read(one), wanted_side=predictor.wanted_side) for one in examples]
    return evaluate(examples, predictor.predict(shown)).metrics["log_loss"]


@pytest.fixture(scope="module")
def material() -> tuple[list[Example], dict[str, bytes]]:
    return photographs.materials(train=6, validation=3)


@pytest.fixture(scope="module")
def first(
    material: tuple[list[Example], dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Previous:
    """A model fine-tuned on four images of each material."""
    examples = [one for one in material[0] if one.split == "validation" or _number(one) < 4]
    context = context_of(tmp_path_factory.mktemp("models") / "first", examples, material[1], None, epochs=2)
    return opened(context, train(context))


def _number(one: Example) -> int:
    return int(Path(one.key).stem)


def _features(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("head.")}


def _same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize(
    "labels", [photographs.MATERIALS, ("brick", "gravel"), ("brick", "grass", "unheard")]
)
def test_features_are_kept_whatever_becomes_of_the_classes(
    first: Previous,
    material: tuple[list[Example], dict[str, bytes]],
    tmp_path: Path,
    labels: tuple[str, ...],
) -> None:
    examples = [
        replace(one, label="unheard") if one.label not in labels and "unheard" in labels else one
        for one in material[0]
    ]
    context = context_of(tmp_path, [one for one in examples if one.label in labels], material[1], first)
    network = bases.load(bases.LITE0, len(labels))  # a last layer of zeros: any model is better
    recipe = take_over(context, network, bases.LITE0, decoded(context))
    assert recipe is not None
    assert network.head.out_features == len(labels)
    assert _same(_features(network), safetensors.torch.load_file(first.folder / WEIGHTS))
    new = 6 if "unheard" in labels else 0
    assert context.facts["new_images"] == 2 * (len(labels) - (new > 0)) + new


def test_kept_classes_keep_their_rows_of_the_last_layer(
    first: Previous, material: tuple[list[Example], dict[str, bytes]], tmp_path: Path
) -> None:
    kept = ("brick", "gravel")
    context = context_of(tmp_path, [one for one in material[0] if one.label in kept], material[1], first)
    network = bases.load(bases.LITE0, 3)
    network.load_state_dict(safetensors.torch.load_file(first.folder / WEIGHTS))
    own, fitted = module._layers(context, network, first, decoded(context)["train"])
    assert torch.equal(own["weight"], network.head.weight[[0, 2]])
    assert torch.equal(own["bias"], network.head.bias[[0, 2]])
    assert fitted["weight"].shape == own["weight"].shape


def test_what_was_relabelled_is_new(first: Previous, tmp_path: Path, material: Any) -> None:
    examples = [replace(one, label="grass") if one.key == "brick/0.jpg" else one for one in material[0]]
    context = context_of(tmp_path, examples, material[1], first)
    train_side = decoded(context)["train"]
    new = {
        one.key for one, is_it in zip(train_side.examples, is_new(first, train_side), strict=True) if is_it
    }
    assert new == {"brick/0.jpg", *(f"{name}/{n}.jpg" for name in photographs.MATERIALS for n in (4, 5))}


@pytest.mark.parametrize(
    "new, views, epochs", [(0, 0, 3), (50, 4_800, 19), (125, 12_000, 40), (250, 12_000, 40)]
)
def test_effort_follows_what_is_new(new: int, views: int, epochs: int) -> None:
    recipe = recipe_for(Recipe(views=12_000), 250, new)
    assert (recipe.views, recipe.epochs_for(250)) == (views, epochs)
    assert recipe.rate < Recipe().rate and recipe.patience is not None


UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("base", {"base": {"name": "resnet", "sha256": "0" * 64}}, "was made from resnet"),
    ("missing", {"folder": Path("nowhere")}, "has no weights.safetensors"),
    ("labels", {"model": {"labels": ["one"]}}, "holds the weights of another network"),
    ("head", {"parameters": {"fine_tune": False}}, "was trained without fine-tuning"),
]


@pytest.mark.parametrize("change, reason", [row[1:] for row in UNFIT], ids=[row[0] for row in UNFIT])
@pytest.mark.parametrize("required", [False, True])
def test_a_model_that_does_not_fit_is_not_used(
    first: Previous, material: Any, tmp_path: Path, change: dict[str, Any], reason: str, required: bool
) -> None:
    context = context_of(tmp_path, material[0], material[1], replace(first, **change, required=required))
    network = bases.load(bases.LITE0, 3)
    before = _features(bases.load(bases.LITE0, 3))
    sides = decoded(context)
    if required:
        with pytest.raises(PluginError, match=f"cannot start from model first: it {reason}") as refusal:
            take_over(context, network, bases.LITE0, sides)
        assert refusal.value.code == "previous_differs"
        return
    assert take_over(context, network, bases.LITE0, sides) is None
    assert _same(before, _features(network))
    assert reason in context.lines[-1]


def test_damaged_weights_are_not_used(first: Previous, material: Any, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"not weights")
    context = context_of(tmp_path / "task", material[0], material[1], replace(first, folder=tmp_path))
    assert take_over(context, bases.load(bases.LITE0, 3), bases.LITE0, decoded(context)) is None
    assert "holds the weights of another network" in context.lines[-1]


def test_a_worse_model_is_not_gone_on_from(first: Previous, material: Any, tmp_path: Path) -> None:
    weights = safetensors.torch.load_file(first.folder / WEIGHTS)
    noise = torch.Generator().manual_seed(0)
    spoiled = {name: torch.randn(value.shape, generator=noise).abs() for name, value in weights.items()}
    (tmp_path / WEIGHTS).write_bytes(safetensors.torch.save(spoiled))
    context = context_of(
        tmp_path / "task", material[0], material[1], replace(first, folder=tmp_path), fine_tune=False
    )
    draft = train(context)
    assert "parent" not in draft.facts
    assert "training goes on from the new start" in " ".join(context.lines)


def test_the_next_attempt_takes_the_same_start(
    first: Previous, material: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(tmp_path, material[0], material[1], first)
    networks = [bases.load(bases.LITE0, 3) for _ in range(2)]
    sides = decoded(context)
    assert take_over(context, networks[0], bases.LITE0, sides) is not None
    monkeypatch.setattr(module, "_choose", lambda *_: pytest.fail("it was chosen already"))
    assert take_over(context, networks[1], bases.LITE0, sides) is not None
    assert _same(networks[0].state_dict(), networks[1].state_dict())


def test_a_chain_of_trainings_never_loses(first: Previous, material: Any, tmp_path: Path) -> None:
    examples, data = material
    previous = first
    losses: list[float] = []
    seen: list[int] = []
    for number in (5, 6, 6):
        some = [one for one in examples if one.split == "validation" or _number(one) < number]
        context = context_of(tmp_path / f"model{len(losses)}", some, data, previous)
        draft = train(context)
        assert draft.facts["parent"] == previous.name
        losses.append(log_loss(context, draft))
        seen.append(context.facts["new_images"])
        previous = opened(context, draft)
    assert seen == [3, 3, 0]
    before = context_of(tmp_path / "before", examples, data, None)
    losses.insert(0, log_loss(before, Draft(first.folder, first.model, first.base)))
    assert all(later <= earlier + 0.02 for earlier, later in pairwise(losses))


@pytest.mark.parametrize("asked", [4, 6, 8])
def test_stopping_while_starting_keeps_a_model(
    first: Previous, tmp_path: Path, asked: int, material: Any
) -> None:
    context = context_of(tmp_path, material[0], material[1], first, epochs=50)
    context.stop_at = asked
    assert log_loss(context, train(context)) < 1.1
