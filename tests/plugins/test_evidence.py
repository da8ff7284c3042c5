"""Evidence maps of a small network, of a trained one, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from plugins import images, registry
from plugins.classification import bases, evidence, exporter
from plugins.classification.predictor import ClassificationPredictor, open_predictor
from plugins.classification.trainer import train
from plugins.contract import Evidence, Explainer, PluginError
from tests.plugins import photographs
from tests.plugins.context import MemoryContext

LABELS = ("a", "b", "c")
SIZE = 64


@pytest.fixture(scope="module")
def draft(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A pretrained network with a last layer of random numbers."""
    folder = tmp_path_factory.mktemp("draft")
    network = bases.load(bases.LITE0, len(LABELS))
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.head.weight, std=0.05, generator=generator)
    torch.nn.init.normal_(network.head.bias, std=0.5, generator=generator)
    return folder, dict(exporter.export(network, LABELS, SIZE, folder))


@pytest.fixture
def predictor(draft: tuple[Path, dict[str, Any]]) -> ClassificationPredictor:
    return open_predictor(*draft, threads=1)


@pytest.fixture(scope="module")
def photos() -> list[images.Decoded]:
    return [
        images.decode(photographs.encode(photographs.crop(name, 0), "PNG")) for name in photographs.MATERIALS
    ]


def head_of(draft: tuple[Path, dict[str, Any]]) -> evidence.Head:
    head = evidence.read_head(draft[0], len(LABELS))
    assert head is not None
    return head


def test_the_places_add_up_to_the_score(
    draft: tuple[Path, dict[str, Any]], predictor: ClassificationPredictor, photos: list[images.Decoded]
) -> None:
    bias = head_of(draft).bias
    for label in LABELS:
        for answer, found in zip(
            predictor.predict(photos), predictor.explain(photos, [label] * len(photos)), strict=True
        ):
            logs = {output.label: np.log(output.conf) for output in answer.outputs}
            above_mean = logs[label] - np.mean(list(logs.values()))
            added = np.mean(found.grid) * found.peak
            at = LABELS.index(label)
            assert added + bias[at] - bias.mean() == pytest.approx(above_mean, abs=2e-3 * (1 + found.peak))


def test_a_grid_is_scaled_to_its_strongest_place(
    predictor: ClassificationPredictor, photos: list[images.Decoded]
) -> None:
    for found in predictor.explain(photos):
        grid = np.array(found.grid)
        assert grid.shape == (2, 2) and np.abs(grid).max() == 1 and found.peak > 0


def test_the_most_likely_class_is_explained_unless_another_is_wanted(
    predictor: ClassificationPredictor, photos: list[images.Decoded]
) -> None:
    first = [answer.outputs[0].label for answer in predictor.predict(photos)]
    assert [found.label for found in predictor.explain(photos)] == first
    assert [found.label for found in predictor.explain(photos, LABELS)] == list(LABELS)
    assert predictor.explain(photos) == predictor.explain(photos, first)


def test_many_images_are_explained_in_order(
    predictor: ClassificationPredictor, photos: list[images.Decoded]
) -> None:
    wanted = [LABELS[number % 2] for number in range(40)]
    many = predictor.explain([photos[number % 3] for number in range(40)], wanted)
    for number, found in enumerate(many):
        (alone,) = predictor.explain([photos[number % 3]], [wanted[number]])
        assert found.label == alone.label
        np.testing.assert_allclose(found.grid, alone.grid, atol=2e-3)


def test_a_class_that_is_not_known_is_refused(
    predictor: ClassificationPredictor, photos: list[images.Decoded]
) -> None:
    with pytest.raises(PluginError, match="knows no class 'd'") as refusal:
        predictor.explain(photos[:1], ["d"])
    assert refusal.value.code == "unknown_label"
    with pytest.raises(ValueError, match="1 labels for 3 images"):
        predictor.explain(photos, ["a"])


def old(
    draft: tuple[Path, dict[str, Any]], folder: Path, outputs: int, head: bool
) -> ClassificationPredictor:
    """The model with only the first outputs of its graph, as older releases wrote it."""
    model = onnx.load(draft[0] / "model.onnx")
    del model.graph.output[outputs:]
    onnx.save(model, folder / "model.onnx")
    if head:
        (folder / evidence.HEAD).write_bytes((draft[0] / evidence.HEAD).read_bytes())
    return open_predictor(folder, draft[1], threads=1)


@pytest.mark.parametrize("outputs, head", [(1, True), (2, True), (3, False)])
def test_a_model_without_maps_answers_and_refuses_to_explain(
    draft: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    predictor: ClassificationPredictor,
    photos: list[images.Decoded],
    outputs: int,
    head: bool,
) -> None:
    older = old(draft, tmp_path, outputs, head)
    answers = older.predict(photos)
    assert [answer.outputs[0].label for answer in answers] == [
        answer.outputs[0].label for answer in predictor.predict(photos)
    ]
    assert all(answer.decision is None for answer in answers)
    for asked in ([], photos):
        with pytest.raises(PluginError, match="no evidence maps") as refusal:
            older.explain(asked)
        assert refusal.value.code == "cannot_explain"


def test_whether_a_model_explains_can_be_asked(predictor: ClassificationPredictor) -> None:
    assert isinstance(predictor, Explainer) and predictor.explain([]) == []


def saved(**arrays: Any) -> bytes:
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


WEIGHT, BIAS = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)


@pytest.mark.parametrize(
    "content, why",
    [
        (b"", "cannot be read"),
        (b"no arrays", "cannot be read"),
        (saved(weight=WEIGHT), "cannot be read"),
        (saved(weight=WEIGHT, bias=np.array([{}], object)), "cannot be read"),
        (saved(weight=WEIGHT[:2], bias=BIAS), "not those of 3 classes"),
        (saved(weight=WEIGHT, bias=BIAS[:2]), "not those of 3 classes"),
        (saved(weight=BIAS, bias=BIAS), "not those of 3 classes"),
        (saved(weight=WEIGHT + np.nan, bias=BIAS), "not a number"),
    ],
)
def test_a_damaged_head_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / evidence.HEAD).write_bytes(content)
    with pytest.raises(PluginError, match=why) as refusal:
        evidence.read_head(tmp_path, 3)
    assert refusal.value.code == "model_unreadable"


class Recording:
    """A session that remembers which outputs it was asked for."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.asked: list[Sequence[str]] = []

    def run(self, names: Sequence[str], inputs: Any) -> Any:
        self.asked.append(tuple(names))
        return self._session.run(names, inputs)


def test_a_prediction_asks_only_for_probabilities(
    predictor: ClassificationPredictor, photos: list[images.Decoded]
) -> None:
    recording = Recording(predictor._session)
    predictor._session = recording
    predictor.predict(photos)
    assert recording.asked == [("probabilities",)]


def test_evidence_lies_where_the_class_is(tmp_path: Path) -> None:
    """A layer trained on whole photographs shows which half of a photograph is brick and which is grass."""
    algorithm = registry.algorithm("classification-high-performance")[1]
    params = registry.parse_params(algorithm, {"image_size": 128, "fine_tune": False})
    examples, data = photographs.materials(train=6, validation=2)
    context = MemoryContext(tmp_path, params, photographs.MATERIALS, examples, data)
    draft = train(context)
    both = Image.new("RGB", (192, 96))
    both.paste(photographs.crop("brick", 9).convert("RGB").resize((96, 96)), (0, 0))
    both.paste(photographs.crop("grass", 9).convert("RGB").resize((96, 96)), (96, 0))
    decoded = images.decode(photographs.encode(both, "PNG"))
    predictor = open_predictor(draft.folder, draft.model, threads=1)
    brick, grass = (np.array(predictor.explain([decoded], [label])[0].grid) for label in ("brick", "grass"))
    assert brick[:, :2].mean() > brick[:, 2:].mean() + 0.3
    assert grass[:, 2:].mean() > grass[:, :2].mean() + 0.3


LEFT_FOR_RIGHT_AGAINST = Evidence("a", ((1.0, 0.0, -1.0),), 1.0)


@pytest.mark.parametrize("light", [0, 255])
def test_colours_show_on_black_and_on_white(light: int) -> None:
    drawn = evidence.overlay(Image.new("RGB", (90, 30), (light,) * 3), LEFT_FOR_RIGHT_AGAINST)
    left, middle, right = (np.asarray(drawn).astype(int)[15, x] for x in (5, 45, 84))
    assert left[0] - left[2] > 60 and right[2] - right[0] > 50
    assert np.ptp(middle) < 12


def test_light_and_dark_stay_visible_under_the_evidence() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 0, 0, 255, 255, 255], np.uint8), (30, 15)))
    strongest = evidence.overlay(stripes, Evidence("a", ((1.0,),), 1.0)).convert("L")
    row = np.asarray(strongest).astype(int)[15]
    assert row.max() - row.min() > 60


def test_a_large_image_is_drawn_smaller_and_keeps_its_proportions() -> None:
    wide = Image.new("RGB", (3000, 1000))
    assert evidence.overlay(wide, LEFT_FOR_RIGHT_AGAINST).size == (1024, 341)
    assert evidence.overlay(wide, LEFT_FOR_RIGHT_AGAINST, longest=100).size == (100, 33)
    assert evidence.overlay(Image.new("RGB", (1, 1)), LEFT_FOR_RIGHT_AGAINST).size == (1, 1)
    assert wide.size == (3000, 1000)


def test_an_image_without_any_evidence_is_grey() -> None:
    nothing = evidence.evidence("a", np.zeros((2, 2), np.float32))
    assert nothing == Evidence("a", ((0.0, 0.0), (0.0, 0.0)), 0.0)
    drawn = np.asarray(evidence.overlay(Image.new("RGB", (20, 20), "red"), nothing)).astype(int)
    assert np.ptp(drawn, axis=2).max() <= 2
