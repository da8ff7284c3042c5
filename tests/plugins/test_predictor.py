"""What a classifier decides, and that models of older releases still answer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from plugins import images
from plugins.classification import bases, exporter
from plugins.classification.predictor import ClassificationPredictor, open_predictor
from plugins.contract import Decision, PluginError
from tests.plugins import photographs

LABELS = ("a", "b", "c")
SIZE = 64
Draft = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> Draft:
    """A pretrained network with a last layer of random numbers."""
    folder = tmp_path_factory.mktemp("draft")
    network = bases.load(bases.LITE0, len(LABELS))
    torch.nn.init.normal_(network.head.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    return folder, dict(exporter.export(network, LABELS, SIZE, folder))


@pytest.fixture(scope="module")
def photos() -> list[images.Decoded]:
    return [
        images.decode(photographs.encode(photographs.crop(name, number), "PNG"))
        for name in photographs.MATERIALS
        for number in range(3)
    ]


def trusting(draft: Draft, folder: Path, outputs: int = 3, **arrays: Any) -> ClassificationPredictor:
    """The model with these arrays as its trust, and only the first outputs of its graph."""
    model = onnx.load(draft[0] / "model.onnx")
    del model.graph.output[outputs:]
    onnx.save(model, folder / "model.onnx")
    if arrays:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        (folder / "trust.npz").write_bytes(buffer.getvalue())
    part = {"trust": {"file": "trust.npz"}} if arrays else {}
    return open_predictor(folder, {**draft[1], **part}, threads=1)


def test_without_thresholds_nothing_is_decided(
    draft: Draft, tmp_path: Path, photos: list[images.Decoded]
) -> None:
    assert {answer.decision for answer in trusting(draft, tmp_path).predict(photos)} == {None}


def test_a_class_is_acted_on_when_it_is_likely_enough(
    draft: Draft, tmp_path: Path, photos: list[images.Decoded]
) -> None:
    plain = trusting(draft, tmp_path).predict(photos)
    middle = float(np.median([answer.outputs[0].conf for answer in plain]))
    answers = trusting(draft, tmp_path, thresholds=np.full(3, middle)).predict(photos)
    assert [answer.outputs for answer in answers] == [answer.outputs for answer in plain]
    best = [answer.outputs[0] for answer in plain]
    assert [answer.decision for answer in answers] == [
        Decision(one.label) if one.conf >= np.float32(middle) else Decision(None, "not_sure") for one in best
    ]
    assert len({answer.decision for answer in answers}) > 1


def reference(draft: Draft, folder: Path, of: list[images.Decoded]) -> dict[str, Any]:
    """A reference that knows only these images, in all directions of their features."""
    predictor = trusting(draft, folder)
    rows = np.stack([np.asarray(one.image.resize((SIZE, SIZE))) for one in of])
    (features,) = predictor.outputs(rows, "features")
    basis = np.linalg.qr(features.T)[0]
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    scale = np.ones(len(basis))
    limit = np.array(0.25)
    return {"scale": scale, "basis": basis, "rows": units @ basis, "limit": limit, "thresholds": np.zeros(3)}


def test_an_image_unlike_those_of_the_training_is_not_acted_on(
    draft: Draft, tmp_path: Path, photos: list[images.Decoded]
) -> None:
    brick, grass = photos[:3], photos[3:6]
    predictor = trusting(draft, tmp_path, **reference(draft, tmp_path, brick))
    decisions = [answer.decision for answer in predictor.predict([*brick, *grass])]
    assert all(decision is not None and decision.label for decision in decisions[:3])
    assert decisions[3:] == [Decision(None, "unlike_training")] * 3


def test_without_features_the_confidence_alone_decides(
    draft: Draft, tmp_path: Path, photos: list[images.Decoded]
) -> None:
    arrays = reference(draft, tmp_path, photos[:3])
    answers = trusting(draft, tmp_path, outputs=1, **arrays).predict(photos)
    assert all(answer.decision == Decision(answer.outputs[0].label) for answer in answers)


def test_features_are_asked_for_only_when_they_are_compared(draft: Draft, tmp_path: Path) -> None:
    assert trusting(draft, tmp_path)._needed == ("probabilities",)
    assert trusting(draft, tmp_path, thresholds=np.zeros(3))._needed == ("probabilities",)
    arrays: dict[str, Any] = {"basis": np.zeros((1280, 2)), "rows": np.ones((4, 2)), "limit": np.array(1.0)}
    arrays["scale"] = np.ones(1280)
    full = trusting(draft, tmp_path, thresholds=np.zeros(3), **arrays)
    assert full._needed == ("probabilities", "features")


def test_many_images_are_decided_in_order(draft: Draft, tmp_path: Path, photos: list[images.Decoded]) -> None:
    predictor = trusting(draft, tmp_path, **reference(draft, tmp_path, photos[:3]))
    few = predictor.predict(photos)
    many = predictor.predict([photos[number % 9] for number in range(70)])
    assert [answer.decision for answer in many] == [few[number % 9].decision for number in range(70)]


def test_a_model_without_the_trust_it_names_is_not_opened(draft: Draft, tmp_path: Path) -> None:
    with pytest.raises(PluginError) as refusal:
        open_predictor(draft[0], {**draft[1], "trust": {"file": "trust.npz"}}, threads=1)
    assert refusal.value.code == "model_unreadable"


def test_an_output_that_the_graph_lacks_is_a_failure_of_the_model(
    draft: Draft, tmp_path: Path, photos: list[images.Decoded]
) -> None:
    rows = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    with pytest.raises(PluginError) as refusal:
        trusting(draft, tmp_path, outputs=1).outputs(rows, "maps")
    assert refusal.value.code == "model_failed"
