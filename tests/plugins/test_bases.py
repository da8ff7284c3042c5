"""torchvision's networks as bases, and which one a training takes."""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchvision.models import convnext, resnet, swin_transformer

from plugins import images, registry
from plugins.classification import bases, catalogue, exporter
from plugins.classification.bases import choice, vision
from plugins.classification.catalogue import LITE0, LITE2, RESNET50, Base
from plugins.classification.exporter.vision import of as graph_of
from plugins.classification.params import ClassificationParams, PrecisionParams
from plugins.classification.predictor import open_predictor
from plugins.classification.trainer import train
from plugins.contract import PluginError, Previous
from plugins.weights import Places
from tests.plugins import photographs
from tests.plugins.context import MemoryContext
from tests.plugins.https_server import send, serving

ARCHITECTURES = tuple(base.architecture for base in catalogue.LARGER)


def scrambled(architecture: str) -> nn.Module:
    """torchvision's own network with random numbers also where it starts from ones and zeros."""
    torch.manual_seed(0)
    model = vision.build(architecture)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, convnext.CNBlock):
            nn.init.normal_(module.layer_scale, std=0.3)
        if isinstance(module, swin_transformer.ShiftedWindowAttention):
            nn.init.normal_(module.relative_position_bias_table)
    return model.eval()


def last_layer(model: Any) -> nn.Linear:
    """The classifier of a network of torchvision."""
    return next(module for module in reversed(list(model.modules())) if isinstance(module, nn.Linear))


def bytes_of(size: int, count: int = 2) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture(scope="module", params=ARCHITECTURES)
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, vision.VisionNetwork]:
    """torchvision's network, and ours of the same weights with its classifier."""
    model = scrambled(request.param)
    network = vision.from_published(request.param, 1000, model.state_dict()).eval()
    network.head.load_state_dict(last_layer(model).state_dict())
    return model, network


Pair = tuple[nn.Module, vision.VisionNetwork]


def test_a_base_answers_as_torchvision_does(pair: Pair) -> None:
    model, network = pair
    x = exporter.to_input(bytes_of(96), "cpu")
    with torch.inference_mode():
        mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        expected = model((x / 255 - mean[:, None, None]) / deviation[:, None, None])
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_features_are_the_mean_of_the_maps(pair: Pair) -> None:
    _, network = pair
    x = exporter.to_input(bytes_of(64), "cpu")
    with torch.inference_mode():
        maps = network.maps(x)
        assert maps.shape == (2, network.head.in_features, 2, 2)
        torch.testing.assert_close(network.features(x), maps.mean((2, 3)))


def test_layers_hold_every_parameter_once_but_those_of_the_head(pair: Pair) -> None:
    _, network = pair
    inside = [id(parameter) for layer in network.layers() for parameter in layer.parameters()]
    of_the_head = {id(parameter) for parameter in network.head.parameters()}
    assert len(inside) == len(set(inside))
    assert not of_the_head & set(inside)
    assert of_the_head | set(inside) == {id(parameter) for parameter in network.parameters()}


def test_weights_can_be_saved_averaged_and_loaded(pair: Pair) -> None:
    _, network = pair
    state = network.state_dict()
    assert all(value.is_floating_point() for value in state.values())
    other = copy.deepcopy(network)
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    other.load_state_dict(state)
    x = exporter.to_input(bytes_of(64), "cpu")
    with torch.inference_mode():
        torch.testing.assert_close(other(x), network(x), rtol=0, atol=0)


def test_training_reaches_every_parameter_and_no_statistics(pair: Pair) -> None:
    network = copy.deepcopy(pair[1]).train()
    for module in network.modules():
        if module.__class__.__name__ == "StochasticDepth":
            module.eval()  # a block left out by chance would get no gradient
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(exporter.to_input(bytes_of(64), "cpu")).square().mean().backward()
    missing = [name for name, one in network.named_parameters() if one.grad is None or not one.grad.any()]
    assert not missing
    assert all(torch.equal(before[name], value) for name, value in network.named_buffers())


@pytest.mark.parametrize("size, both_ways", [(64, False), (96, True)])
def test_the_exported_graph_is_the_network(pair: Pair, size: int, both_ways: bool, tmp_path: Path) -> None:
    network = copy.deepcopy(pair[1])
    network.head = nn.Linear(network.head.in_features, 3)
    network.both_ways = both_ways
    model = exporter.export(network, ("a", "b", "c"), size, tmp_path)
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"), full_check=True)
    rows = bytes_of(size, 3)
    with torch.inference_mode():
        x = exporter.to_input(rows, "cpu")
        expected, features = torch.softmax(network(x), 1).numpy(), network.features(x).numpy()
    given, seen, maps = open_predictor(tmp_path, model, threads=1).outputs(
        rows, "probabilities", "features", "maps"
    )
    np.testing.assert_allclose(given, expected, atol=1e-5)
    np.testing.assert_allclose(seen, features, rtol=1e-3, atol=1e-4 * abs(features).max())
    np.testing.assert_allclose(maps.mean((2, 3)), seen, rtol=1e-3, atol=1e-4 * abs(features).max())
    assert graph_of(network, size).SerializeToString() == (tmp_path / "model.onnx").read_bytes()


def test_a_module_without_a_rule_is_not_exported(tmp_path: Path) -> None:
    network = vision.VisionNetwork([nn.Conv2d(3, 4, 3), nn.Hardswish()], None, 4, 2, swin=False)
    with pytest.raises(PluginError, match="Hardswish") as refusal:
        exporter.export(network, ("a", "b"), 32, tmp_path)
    assert refusal.value.code == "export_unknown"


# Which base a training takes.


def context(folder: Path, **changes: Any) -> MemoryContext:
    """A training of high precision with an endless budget."""
    examples, data = photographs.materials(train=4, validation=2)
    values = {"params": PrecisionParams(), "algorithm": choice.HIGH_PRECISION, "weights": folder / "weights"}
    folder.mkdir(exist_ok=True)
    return MemoryContext(
        folder=folder, labels=photographs.MATERIALS, snapshot=examples, data=data, **{**values, **changes}
    )


def published(base: Base, folder: Path) -> Base:
    """The same base with random weights, which now lie in the folder."""
    stream = BytesIO()
    torch.save(scrambled(base.architecture).state_dict(), stream)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / base.file).write_bytes(stream.getvalue())
    return replace(base, sha256=hashlib.sha256(stream.getvalue()).hexdigest(), size=len(stream.getvalue()))


def small(name: str, data: bytes, folder: Path | None = None, **changes: Any) -> Base:
    """A base of a few bytes, which lie in the folder if there is one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.pth").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    changed = {"name": name, "file": f"{name}.pth", "sha256": digest, "size": len(data), **changes}
    return replace(RESNET50, **changed)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Says which larger bases there are."""

    def offered(*larger: Base) -> None:
        monkeypatch.setattr(choice, "LARGER", larger)
        monkeypatch.setattr(choice, "PRECISE", (LITE2, *larger))

    return offered


def places(folder: Path) -> Places:
    return Places(folder / "weights")


def test_the_other_algorithm_has_its_own_base(tmp_path: Path) -> None:
    fast = context(tmp_path, algorithm="classification-high-performance", params=ClassificationParams())
    assert choice.choose(fast, 12, 64).base is LITE0


def test_without_a_larger_base_it_is_the_bundled_one(tmp_path: Path) -> None:
    one = context(tmp_path)
    chosen = choice.choose(one, 12, 64, places(tmp_path))
    assert chosen.base is LITE2
    assert any("offline" in line and "efficientnet-v2-s is not taken" in line for line in one.lines)
    others = "convnext-small, convnext-tiny, swin-t, resnet50"
    assert one.lines[1] == f"Not here either: {others}; `sightloop doctor` says how to get them."
    assert "efficientnet-lite2" in one.lines[-1]


def test_the_most_accurate_base_that_is_here_is_taken(tmp_path: Path, offer: Any) -> None:
    weights = tmp_path / "weights"
    offer(small("a", b"1"), small("b", b"2", weights), small("c", b"3", weights))
    chosen = choice.choose(context(tmp_path), 12, 64, places(tmp_path))
    assert (chosen.base.name, chosen.weights) == ("b", b"2")


def test_a_base_that_the_budget_does_not_allow_is_not_taken(tmp_path: Path, offer: Any) -> None:
    weights = tmp_path / "weights"
    offer(small("slow", b"1", weights, speed=0.01), small("quick", b"2", weights, speed=100.0))
    one = context(tmp_path, budget=60.0)
    assert choice.choose(one, 100, 224, places(tmp_path)).base.name == "quick"
    assert "slow is not taken: it would train for 2667 minutes or more." in one.lines


def test_without_time_for_the_bundled_base_it_is_the_smaller_one(tmp_path: Path, offer: Any) -> None:
    offer()
    short = context(tmp_path / "short", budget=60.0)
    assert choice.choose(short, 500, 288, places(tmp_path)).base is LITE0
    assert "efficientnet-lite2 is not taken: it would train for 10 minutes or more." in short.lines
    again = context(tmp_path / "short", budget=1e6)
    assert choice.choose(again, 500, 288, places(tmp_path)).base is LITE0  # whose checkpoints are there
    head_alone = context(tmp_path / "head", budget=60.0, params=PrecisionParams(fine_tune=False))
    assert choice.choose(head_alone, 500, 288, places(tmp_path)).base is LITE2
    assert choice.choose(context(tmp_path / "long", budget=1200.0), 500, 288, places(tmp_path)).base is LITE2


def test_time_grows_with_images_and_area_and_falls_with_threads() -> None:
    def seconds(images: int = 100, size: int = 224, device: str = "cpu", threads: int = 1) -> float:
        return choice.seconds_needed(RESNET50, images, size, device, threads)

    assert seconds(200) == 2 * seconds()
    assert seconds(size=448) == 4 * seconds()
    assert seconds(threads=2) == seconds() / 2
    assert seconds(device="cuda") < seconds() / 10
    assert choice.seconds_needed(RESNET50, 100, None, "cpu", 1) == seconds()


def test_a_second_attempt_takes_the_same_base(tmp_path: Path, offer: Any) -> None:
    weights = tmp_path / "weights"
    second = small("b", b"2", weights)
    offer(small("a", b"1"), second)
    assert choice.choose(context(tmp_path), 12, 64, places(tmp_path)).base.name == "b"
    offer(small("a", b"1", weights), second)
    assert choice.choose(context(tmp_path), 12, 64, places(tmp_path)).base.name == "b"


def test_a_base_that_is_asked_for_is_taken_or_refused(tmp_path: Path, offer: Any) -> None:
    weights = tmp_path / "weights"
    offer(small("a", b"1", weights), small("b", b"2", weights, speed=1e-9), small("c", b"3"))
    named = context(tmp_path, params=PrecisionParams(base="b"), budget=60.0)
    assert choice.choose(named, 12, 64, places(tmp_path)).base.name == "b"
    with pytest.raises(PluginError, match=r"the weights c\.pth") as refusal:
        choice.choose(context(tmp_path, params=PrecisionParams(base="c")), 12, 64, places(tmp_path))
    assert refusal.value.code == "weights_missing"


def test_a_model_to_go_on_from_keeps_its_base(tmp_path: Path, offer: Any) -> None:
    weights = tmp_path / "weights"
    second = small("b", b"2", weights)
    offer(small("a", b"1", weights), second)
    previous = Previous("m", "", tmp_path, {}, {"sha256": second.sha256}, {}, {}, {})
    one = context(tmp_path, previous=previous)
    chosen = choice.choose(one, 12, 64, places(tmp_path))
    assert chosen.base is second and "go on" in chosen.reason


def test_an_address_that_fails_is_asked_once(tmp_path: Path, offer: Any) -> None:
    with serving(tmp_path) as server:
        there = Places(tmp_path / "weights", offline=False, trust=server.trust)
        bases_ = [small(name, name.encode(), url=f"{server.address}/{name}") for name in "abc"]
        offer(*bases_)
        one = context(tmp_path)
        assert choice.choose(one, 12, 64, there).base is LITE2
        assert server.asked == ["/a"]
        server.answers["/a"] = lambda request: send(request, b"a")
        assert choice.choose(context(tmp_path / "next"), 12, 64, there).base is bases_[0]


def test_nothing_is_downloaded_for_images_that_cannot_be_learned_from(tmp_path: Path, offer: Any) -> None:
    offer(small("c", b"3"))  # which would be missed first
    one = context(tmp_path, params=PrecisionParams(base="c"))
    one.snapshot = [example for example in one.snapshot if example.label == one.labels[0]]
    with pytest.raises(PluginError) as refusal:
        train(one)
    assert refusal.value.code == "too_few_images"


def test_a_training_with_a_base_of_torchvision(
    tmp_path: Path, offer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From weights in the folder to a model that answers, explains, and says where it comes from. The network
    has one block where ResNet-50 has three to six, and narrower ones.
    """
    narrow = partial(resnet.ResNet, resnet.Bottleneck, [1, 1, 1, 1], width_per_group=8)
    monkeypatch.setattr(vision, "build", lambda architecture: narrow())
    base = published(RESNET50, tmp_path / "weights")
    offer(base)
    one = context(tmp_path / "task", params=PrecisionParams(epochs=1, image_size=64))
    one.weights = tmp_path / "weights"
    draft = train(one)
    assert draft.base == {
        "name": "resnet50",
        "file": RESNET50.file,
        "sha256": base.sha256,
        "licence": RESNET50.licence,
    }
    assert one.facts["base"] == "resnet50" and "most accurate" in one.facts["base_reason"]
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    decoded = [images.decode(one.read(example)) for example in one.examples("validation")]
    assert len(predictor.predict(decoded)) == 6
    assert all(math.isfinite(value) for row in predictor.explain(decoded)[0].grid for value in row)


def test_the_base_is_a_parameter_of_high_precision_only() -> None:
    _, precise = registry.algorithm(choice.HIGH_PRECISION)
    names = next(entry for entry in registry.params_schema(precise) if entry["name"] == "base")["choices"]
    assert set(names) == {base.name for base in catalogue.PRECISE}
    assert registry.parse_params(precise, {"base": "convnext-tiny"}).base == "convnext-tiny"
    with pytest.raises(PluginError, match="one of efficientnet-lite2"):
        registry.parse_params(precise, {"base": "vgg16"})
    _, fast = registry.algorithm("classification-high-performance")
    with pytest.raises(PluginError, match="has no parameter 'base'"):
        registry.parse_params(fast, {"base": "resnet50"})


def test_a_base_without_its_own_weights_is_refused() -> None:
    with pytest.raises(PluginError):
        bases.load(RESNET50, 3)
