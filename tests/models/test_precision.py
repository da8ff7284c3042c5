"""Which of a bundle's ONNX files is served, and what people are told."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend.errors import ModelInvalid
from backend.models import card, precision
from tests.models.test_card import MANIFEST

TRIED: dict[str, Any] = {
    "served": "int8",
    "reason": "1.5 times faster on one thread of this machine, 79.3% instead of 79.3% right on validation",
    "bytes_fp32": 13_444_834,
    "bytes_int8": 3_750_187,
    "seconds_fp32": 0.01334,
    "seconds_int8": 0.00895,
    "accuracy_fp32": 0.7931,
    "accuracy_int8": 0.7931,
    "on_training": {"images": 200, "agreement": 1.0, "difference": 0.0035, "expected_loss": 0.0},
    "on_validation": {"images": 58, "agreement": 0.9483, "difference": 0.028, "expected_loss": 0.0024},
}
REFUSED = {"served": "fp32", "reason": "int8 is not faster on this machine", "bytes_fp32": 13_444_834}


def archive(folder: Path, served: str | None, *files: str, tried: Any = None) -> Path:
    path = folder / "bundle.zip"
    with zipfile.ZipFile(path, "w") as target:
        for name in files:
            target.writestr(name, name)
        facts = {} if tried is None else {"int8": tried}
        target.writestr("manifest.json", json.dumps({"model": {"file": served}, "facts": facts}))
    return path


@pytest.mark.parametrize(
    ("wanted", "file"),
    [("served", "model-int8.onnx"), ("fp32", "model.onnx"), ("int8", "model-int8.onnx")],
)
def test_the_served_file_is_sent_unless_another_is_asked_for(tmp_path: Path, wanted: Any, file: str) -> None:
    bundle = archive(tmp_path, "model-int8.onnx", "model-int8.onnx", "model.onnx", tried=TRIED)
    assert precision.onnx_file(bundle, "parts", wanted) == file.encode()


def test_fp32_is_sent_where_int8_is_not_served(tmp_path: Path) -> None:
    bundle = archive(tmp_path, "model.onnx", "model.onnx", tried=REFUSED)
    assert precision.onnx_file(bundle, "parts", "served") == b"model.onnx"
    with pytest.raises(ModelInvalid, match="no int8 file: int8 is not faster on this machine"):
        precision.onnx_file(bundle, "parts", "int8")


def test_a_plugin_may_not_say_which_file_it_serves(tmp_path: Path) -> None:
    assert precision.onnx_file(archive(tmp_path, None, "b.onnx", "a.onnx"), "parts", "served") == b"a.onnx"


@pytest.mark.parametrize("wanted", ["served", "fp32"])
def test_half_a_reader_is_not_given_out_as_the_model(tmp_path: Path, wanted: Any) -> None:
    path = tmp_path / "bundle.zip"
    model = {"vocabulary": ["a"], "detector": {"file": "d.onnx"}, "recogniser": {"file": "r.onnx"}}
    with zipfile.ZipFile(path, "w") as target:
        for name in ("d.onnx", "r.onnx"):
            target.writestr(name, name)
        target.writestr("manifest.json", json.dumps({"model": model, "facts": {}}))
    with pytest.raises(ModelInvalid, match=r"made of d\.onnx and r\.onnx.*export the bundle"):
        precision.onnx_file(path, "reader", wanted)


def test_a_bundle_without_onnx(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid, match="holds no ONNX file"):
        precision.onnx_file(archive(tmp_path, "model.npz", "model.npz"), "parts", "served")


def test_one_line_says_what_is_served_and_why() -> None:
    line = precision.in_words({"int8": TRIED})
    assert line.startswith("int8, because 1.5 times faster")
    assert line.endswith("(fp32 13.4 MB, 13.3 ms an image; int8 3.8 MB, 8.9 ms an image)")
    assert precision.in_words({"int8": REFUSED}) == (
        "fp32, because int8 is not faster on this machine (fp32 13.4 MB)"
    )
    assert precision.in_words({"stage": "head"}) == ""


def test_the_card_shows_both() -> None:
    text = card.render(replace(MANIFEST, facts={"int8": TRIED}))
    assert "| file | 13.4 MB | 3.8 MB |" in text
    assert "| an image on one thread | 13.3 ms | 8.9 ms |" in text
    assert "the same answer for 94.8% of 58 images" in text
    assert "## Precision" not in card.render(MANIFEST)
    refused = card.render(replace(MANIFEST, facts={"int8": REFUSED}))
    assert "Served in fp32: int8 is not faster on this machine." in refused
    assert "| file | 13.4 MB |  |" in refused


READER: dict[str, Any] = {
    "detector": {
        "served": "int8",
        "reason": "2.9 times faster on one thread of this machine, F1 end to end on validation 81.4% instead "
        "of 81.2%",
        "bytes_fp32": 9_847_817,
        "bytes_int8": 2_790_285,
        "seconds_fp32": 0.3107,
        "seconds_int8": 0.1075,
        "f1_fp32": 0.8121,
        "f1_int8": 0.8143,
    },
    "recogniser": {"served": "fp32", "reason": "int8 is not faster on this machine", "bytes_fp32": 3_000_000},
}


def test_both_networks_of_a_reader_have_their_own_precision() -> None:
    line = precision.in_words({"int8": READER})
    first, _, second = line.partition("; recogniser ")
    assert first.startswith("detector int8, because 2.9 times faster") and "2.8 MB, 107.5 ms" in first
    assert second == "fp32, because int8 is not faster on this machine (fp32 3.0 MB)"
    text = card.render(replace(MANIFEST, facts={"int8": READER}))
    assert text.count("## Precision") == 1
    assert "The detector is served in int8: 2.9 times faster" in text.replace("\n", " ")
    assert "| F1 end to end on validation | 81.2% | 81.4% |" in text
    assert "The recogniser is served in fp32: int8 is not faster on this machine." in text
    assert "| a run on one thread |  |  |" in text
