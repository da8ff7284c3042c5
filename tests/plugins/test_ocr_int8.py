"""Both networks of a reader in int8: made, judged end to end, served or refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from plugins import images
from plugins.contract import Evaluation, TrainingStopped
from plugins.ocr import bases, exporter
from plugins.ocr.evaluate import HEADLINE
from plugins.ocr.predictor import open_predictor
from plugins.ocr.text import loosely
from plugins.ocr.trainer import int8, pages
from plugins.quantisation import quantiser, speed
from plugins.quantisation.speed import Speed
from tests.plugins.context import MemoryContext
from tests.plugins.ocr_pages import TinyDetector, TinyRecogniser, page

FASTER, SLOWER = Speed(0.2, 0.1, (1.5, 2.0, 2.5)), Speed(0.1, 0.2, (0.4, 0.5, 0.9))


def context(folder: Path, validation: int = 2) -> MemoryContext:
    made = [page(number, "validation" if number < validation else "train") for number in range(4)]
    return MemoryContext(
        folder=folder,
        params=None,
        labels=(),
        snapshot=[one for one, _ in made],
        data={one.key: data for one, data in made},
        algorithm="ocr-high-performance",
        threads=2,
    )


def offer(made: MemoryContext, folder: Path, model: Any) -> tuple[Any, Any]:
    sides = (pages.pages(made, split) for split in ("train", "validation"))
    return int8.offer(made, folder, model, *sides)


@pytest.fixture
def draft(tmp_path: Path) -> tuple[Path, Any]:
    """Networks that read nothing, small enough to be quantised in a moment."""
    folder = tmp_path / "draft"
    return folder, exporter.export(TinyDetector(), TinyRecogniser((*"AB0123456789", " ")), folder)


@pytest.fixture(autouse=True)
def timed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Speed]]:
    """What is measured of every network: tests change the last entry. Small inputs are too small to tell."""
    said = [FASTER]
    monkeypatch.setattr(speed, "measure", lambda *_, **__: said[-1])
    yield said


def scores(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """F1 end to end of one judgement after the other, the last one for all that follow."""
    left = list(values)

    def answer(*_: Any) -> Evaluation:
        return Evaluation({HEADLINE: left.pop(0) if len(left) > 1 else left[0]})

    monkeypatch.setattr(int8, "evaluate", answer)


def served(model: Any) -> tuple[str, str]:
    return model["detector"]["file"], model["recogniser"]["file"]


def test_a_reader_in_int8_reads_what_it_read_before(tmp_path: Path) -> None:
    made, base = context(tmp_path), bases.load("pp-ocrv6-small", None, True)
    draft = exporter.untrained(base, tmp_path / "draft", "AB0123456789")
    model, facts = offer(made, draft.folder, draft.model)
    assert served(model) == ("detector-int8.onnx", "recogniser-int8.onnx")
    for name in int8.NETWORKS:
        found = facts[name]
        assert found["served"] == "int8" and "2.0 times faster" in found["reason"]
        assert found["bytes_int8"] == (draft.folder / f"{name}-int8.onnx").stat().st_size
        assert found["bytes_int8"] < 0.7 * found["bytes_fp32"]
        assert found["f1_fp32"] - found["f1_int8"] <= int8.MOST_LOST and found["images"] == 2
        kinds = [node.op_type for node in onnx.load(draft.folder / f"{name}-int8.onnx").graph.node]
        assert "QuantizeLinear" in kinds
    assert json.loads(json.dumps(facts)) == facts
    predictor = open_predictor(draft.folder, model, threads=1)
    for example in made.snapshot:
        (answer,) = predictor.predict([images.decode(made.read(example))])
        assert [loosely(output.label) for output in answer.outputs] == [
            loosely(region.text or "") for region in example.regions
        ]


def test_a_slower_network_stays_in_fp32(draft: tuple[Path, Any], timed: list[Speed], tmp_path: Path) -> None:
    timed.append(SLOWER)
    made = context(tmp_path)
    model, facts = offer(made, *draft)
    assert model == draft[1] and not list(draft[0].glob("*int8*"))
    assert {found["reason"] for found in facts.values()} == {"int8 is not faster on this machine"}
    assert facts["detector"]["times_faster"] == 0.5
    assert made.facts["served"] == "detector fp32, recogniser fp32"
    assert sum("is served in fp32: int8 is not faster" in line for line in made.lines) == 2


def test_what_reads_worse_is_not_served(
    draft: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, 0.9, 0.896, 0.894)
    model, facts = offer(context(tmp_path), *draft)
    assert served(model) == ("detector-int8.onnx", "recogniser.onnx")
    assert "F1 end to end on validation 89.6% instead of 90.0%" in facts["detector"]["reason"]
    assert facts["recogniser"]["reason"] == "in int8 F1 end to end on validation falls from 90.0% to 89.4%"
    assert not (draft[0] / "recogniser-int8.onnx").exists()


def test_layers_that_suffer_stay_in_fp32_where_that_helps(
    draft: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "SPARED", (0.0, 0.34))
    scores(monkeypatch, 0.9, 0.8, 0.9, 0.9)
    model, facts = offer(context(tmp_path), *draft)
    assert served(model) == ("detector-int8.onnx", "recogniser-int8.onnx")
    assert len(facts["detector"]["in_fp32"]) == 1 and facts["recogniser"]["in_fp32"] == []


def test_without_labelled_validation_images_nothing_is_judged(
    draft: tuple[Path, Any], tmp_path: Path
) -> None:
    model, facts = offer(context(tmp_path, validation=0), *draft)
    assert model == draft[1]
    assert all("no validation image with text" in found["reason"] for found in facts.values())


def test_a_stop_leaves_fp32_at_once(draft: tuple[Path, Any], tmp_path: Path) -> None:
    made = context(tmp_path)
    made.stop_at = 3
    model, facts = offer(made, *draft)
    assert model == draft[1] and all("was stopped" in found["reason"] for found in facts.values())
    made.discard = True
    with pytest.raises(TrainingStopped):
        offer(made, *draft)


def test_trouble_with_one_network_is_none_of_the_other(
    draft: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = quantiser.quantise, []

    def once(*args: Any, **options: Any) -> onnx.ModelProto:
        asked.append(args)
        if len(asked) == 1:
            raise ValueError("no such operator\nand more")
        return copy.deepcopy(real(*args, **options))

    monkeypatch.setattr(quantiser, "quantise", once)
    model, facts = offer(context(tmp_path), *draft)
    assert served(model) == ("detector.onnx", "recogniser-int8.onnx")
    assert facts["detector"]["reason"] == "it could not be quantised: no such operator"


def test_a_full_disk_leaves_fp32(
    draft: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(int8, "write", full)
    (draft[0] / "detector-int8.onnx").write_bytes(b"of an earlier attempt")
    model, facts = offer(context(tmp_path), *draft)
    assert model == draft[1] and not list(draft[0].glob("*int8*"))
    expected = "detector-int8.onnx could not be written: No space left on device"
    assert facts["detector"]["reason"] == expected


def test_values_that_are_no_numbers_are_answers_of_nothing(
    draft: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores(monkeypatch, 1.0)
    real = quantiser.quantise

    def spoilt(*args: Any, **options: Any) -> onnx.ModelProto:
        made = real(*args, **options)
        for tensor in made.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT:
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
        return made

    monkeypatch.setattr(quantiser, "quantise", spoilt)
    _, facts = offer(context(tmp_path), *draft)
    assert set(facts) == set(int8.NETWORKS)
