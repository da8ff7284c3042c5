"""The networks that text reading starts from: conversion, cutting, loading, and every way to fail."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import torch

from plugins import weights
from plugins.contract import PluginError
from plugins.ocr import bases, catalogue
from plugins.ocr.bases import Base, Recogniser, cut, doctr_models
from plugins.weights import Places
from tests.plugins.https_server import Server, serving

PP_OCR = catalogue.PP_OCR.name


def published(place: int) -> bytes:
    return weights.read(catalogue.PP_OCR.files[place], Places())


def base() -> Base:
    return bases.load(PP_OCR, None, True)


@pytest.fixture(scope="module")
def ppocr() -> Base:
    return base()


def by_onnx_runtime(data: bytes, images: torch.Tensor) -> npt.NDArray[Any]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return np.asarray(answer)


@pytest.mark.parametrize("height, width", [(320, 320), (96, 416), (32, 32)])
def test_the_detector_answers_as_the_published_file(ppocr: Base, height: int, width: int) -> None:
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.inference_mode():
        answer = ppocr.detector.eval()(images)
    assert answer.shape == (2, 1, height, width)
    assert np.allclose(answer.numpy(), by_onnx_runtime(published(0), images), atol=1e-4)


@pytest.mark.parametrize("width", [16, 320, 328, 1000])
def test_the_recogniser_answers_as_the_published_file(ppocr: Base, width: int) -> None:
    lines = torch.randn(2, 3, 48, width, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    with torch.inference_mode():
        answer = ppocr.recogniser.eval()(lines)
    assert answer.shape[1] == width // ppocr.recogniser.stride
    assert np.allclose(answer.exp().numpy(), by_onnx_runtime(published(1), lines), atol=1e-4)


def test_it_knows_its_characters(ppocr: Base) -> None:
    assert len(ppocr.characters) == 18_709 and ppocr.characters[-1] == " "
    assert {"A", "z", "0", "€", "中"} <= set(ppocr.characters)
    assert ppocr.files == {file.file: file.sha256 for file in catalogue.PP_OCR.files}
    assert ppocr.license == "Apache-2.0" and "RapidOCR" in ppocr.attribution


@pytest.mark.parametrize("name", ["detector", "recogniser"])
def test_every_weight_is_trained(name: str) -> None:
    loaded = base()
    network = getattr(loaded, name).train()
    shape = (1, 3, 64, 64) if name == "detector" else (1, 3, 48, 64)
    network.logits(torch.randn(shape, generator=torch.Generator().manual_seed(0))).square().mean().backward()
    still = [key for key, value in network.named_parameters() if value.grad is None]
    assert not still
    count = sum(value.numel() for value in network.parameters())
    assert count == {"detector": 2_453_353, "recogniser": 5_266_550}[name]


def test_weights_are_written_and_read_back(ppocr: Base, tmp_path: Path) -> None:
    from plugins.ocr.exporter import read_weights, write_weights

    path = tmp_path / "weights.safetensors"
    changed = base()
    cut(changed.recogniser, "ABC")
    with torch.no_grad():
        for value in [*changed.detector.parameters(), *changed.recogniser.parameters()]:
            value.mul_(0.99)
    write_weights(changed.detector, changed.recogniser, path)
    again = base()
    cut(again.recogniser, "ABC")
    read_weights(again.detector, again.recogniser, path)
    lines = torch.randn(1, 3, 48, 80)
    with torch.inference_mode():
        assert torch.equal(changed.recogniser.eval()(lines), again.recogniser.eval()(lines))
        images = torch.randn(1, 3, 64, 64)
        assert torch.equal(changed.detector.eval()(images), again.detector.eval()(images))
    with pytest.raises(RuntimeError):
        read_weights(again.detector, base().recogniser, path)


def test_a_cut_keeps_the_scores_of_known_characters(ppocr: Base) -> None:
    lines = torch.randn(1, 3, 48, 80, generator=torch.Generator().manual_seed(1))
    whole = ppocr.recogniser.eval()
    some = cut(base().recogniser, "Zß7 A7").eval()
    assert some.characters == ("Z", "ß", "7", "A", " ")
    places = [0, *(ppocr.characters.index(one) + 1 for one in some.characters)]
    with torch.inference_mode():
        assert torch.allclose(some.logits(lines), whole.logits(lines)[..., places], atol=1e-5)


def test_unknown_characters_are_not_answered_before_they_are_learned() -> None:
    some = cut(base().recogniser, "AB\u2c00\U00010330").eval()  # Glagolitic and Gothic
    lines = torch.randn(2, 3, 48, 160, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        answers = some(lines)
    assert answers.shape[2] == 1 + len(some.characters) == 6
    assert not np.isin(answers.argmax(2).numpy(), [3, 4]).any()
    again = cut(base().recogniser, "AB\u2c00\U00010330").eval()
    with torch.inference_mode():
        assert torch.equal(again(lines), answers)


def test_other_forms_of_a_character_count_as_it() -> None:
    lines = torch.randn(1, 3, 48, 80, generator=torch.Generator().manual_seed(1))
    apart = cut(base().recogniser, "ABab").eval()
    joined = cut(base().recogniser, "AB", {"a": "A", "b": "B"}).eval()
    assert joined.characters == ("A", "B", " ")
    with torch.inference_mode():
        blank, upper_a, upper_b, lower_a, lower_b, space = apart(lines)[0].exp().T
        expected = torch.stack([blank, upper_a + lower_a, upper_b + lower_b, space]).T
        assert torch.allclose(joined(lines)[0].exp(), expected, atol=1e-6)
    again = cut(joined, "AB").eval()
    with torch.inference_mode():
        assert again(lines).shape[2] == again.last_layer()[0].shape[0] == 4


def test_both_forms_of_a_character_learn_from_its_texts() -> None:
    joined = cut(base().recogniser, "AB", {"a": "A"})
    joined(torch.randn(1, 3, 48, 80))[0, :, 1].sum().backward()
    (learned,) = (
        value.grad for value in joined.parameters() if value.grad is not None and value.shape[1:] == (5,)
    )
    assert learned[:, 1].abs().sum() > 0 and learned[:, 4].abs().sum() > 0


def test_a_cut_can_be_cut_again() -> None:
    recogniser = cut(cut(base().recogniser, "ABC"), "BCD")
    assert recogniser.characters == ("B", "C", "D", " ")
    assert [len(one) for one in recogniser.last_layer()] == [5, 5]


@pytest.mark.parametrize("wrong", [["AB"], ["A", ""]])
def test_what_is_no_character_is_refused(ppocr: Base, wrong: list[str]) -> None:
    with pytest.raises(ValueError, match="is not one character"):
        cut(ppocr.recogniser, wrong)


def test_an_unknown_base_is_refused() -> None:
    with pytest.raises(PluginError, match="there is pp-ocrv6-small, doctr-mobilenet, scratch") as refusal:
        bases.load("tesseract", None, True)
    assert refusal.value.code == "unknown_base"


def test_a_changed_file_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = replace(catalogue.PP_OCR.files[0], sha256="0" * 64)
    entry = replace(catalogue.PP_OCR, files=(changed, catalogue.PP_OCR.files[1]))
    monkeypatch.setattr(catalogue, "ALL", (entry,))
    with pytest.raises(PluginError, match="install rapidocr again") as refusal:
        bases.load(PP_OCR, None, True)
    assert refusal.value.code == "weights_changed"


def doctr_weights(architecture: str, seed: int) -> bytes:
    """A file of the same form as docTR's, with other numbers."""
    model = doctr_models.build(architecture)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.01 * torch.randn(value.shape, generator=random))
    stream = BytesIO()
    torch.save(model.state_dict(), stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def files() -> list[bytes]:
    return [doctr_weights(name, place) for place, name in enumerate(catalogue.DOCTR.architectures)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


@pytest.fixture
def entry(files: list[bytes], server: Server, monkeypatch: pytest.MonkeyPatch) -> catalogue.Entry:
    """docTR's base with our files: as there, no more than the first digits of the sha256 are known."""
    changed = replace(
        catalogue.DOCTR,
        files=tuple(
            replace(
                file,
                sha256=hashlib.sha256(data).hexdigest()[:8],
                url=server.url(f"/models?id={file.file}&src=0", data),
            )
            for file, data in zip(catalogue.DOCTR.files, files, strict=True)
        ),
    )
    monkeypatch.setattr(catalogue, "ALL", (changed,))
    return changed


def test_docTRs_weights_are_downloaded_once_and_loaded(
    entry: catalogue.Entry, server: Server, tmp_path: Path, files: list[bytes]
) -> None:
    places = Places(tmp_path / "weights", tmp_path / "cache", offline=False, trust=server.trust)
    loaded = bases.load(entry.name, None, False, places=places)
    asked = len(server.asked)
    assert asked == 2
    assert loaded.files == {
        file.file: hashlib.sha256(data).hexdigest() for file, data in zip(entry.files, files, strict=True)
    }
    again = bases.load(entry.name, tmp_path / "weights", True)
    assert len(server.asked) == asked
    images, lines = torch.randn(1, 3, 64, 96), torch.randn(2, 3, 32, 100)
    with torch.inference_mode():
        assert torch.equal(loaded.detector.eval()(images), again.detector.eval()(images))
        answer = loaded.recogniser.eval()(lines)
    assert loaded.detector(images).shape == (1, 1, 64, 96)
    assert answer.shape == (2, 25, 1 + len(loaded.characters)) and loaded.recogniser.height == 32


def test_docTRs_networks_answer_as_its_own_code(entry: catalogue.Entry, files: list[bytes]) -> None:
    detector, recogniser = doctr_models.load(entry.architectures, files)
    models = [doctr_models.build(name) for name in entry.architectures]
    for model, data in zip(models, files, strict=True):
        model.load_state_dict(torch.load(BytesIO(data), weights_only=True))
        model.eval()
    images, lines = torch.randn(1, 3, 64, 96), torch.randn(1, 3, 32, 128)
    with torch.inference_mode():
        expected = models[0](images, return_model_output=True)["out_map"]
        assert torch.allclose(detector.eval()(images), expected, atol=1e-6)
        logits = models[1](lines, return_model_output=True)["out_map"]
        own = recogniser.eval().logits(lines)
    last = logits.shape[2] - 1  # docTR's blank
    assert torch.allclose(own[..., 0], logits[..., last], atol=1e-5)
    assert torch.allclose(own[..., 1:-1], logits[..., :last], atol=1e-5)


def test_docTRs_weights_offline_name_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"db_mobilenet_v3_large-21748dd0\.pt.*offline") as refusal:
        bases.load(catalogue.DOCTR.name, tmp_path, True, places=Places(tmp_path, None, True))
    assert refusal.value.code == "weights_missing" and str(tmp_path) in str(refusal.value)


def test_weights_of_another_network_are_refused(
    entry: catalogue.Entry, files: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = [replace(file, sha256=hashlib.sha256(files[1]).hexdigest()) for file in entry.files]
    monkeypatch.setattr(catalogue, "ALL", (replace(entry, files=tuple(swapped)),))
    for file in swapped:
        (tmp_path / file.file).write_bytes(files[1])
    with pytest.raises(PluginError, match="holds weights of another network") as refusal:
        bases.load(entry.name, tmp_path, True)
    assert refusal.value.code == "weights_changed"


def test_the_cache_of_docTR_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCTR_CACHE_DIR", str(tmp_path))
    assert catalogue.doctr_cache() == tmp_path / "models"
    monkeypatch.delenv("DOCTR_CACHE_DIR")
    assert os.path.join(".cache", "doctr", "models") in str(catalogue.doctr_cache())


def test_from_scratch_nothing_is_read() -> None:
    loaded = bases.load(catalogue.SCRATCH.name, None, True)
    assert not loaded.pretrained and loaded.files == {}
    assert isinstance(cut(loaded.recogniser, "AB"), Recogniser)


def test_the_catalogue_is_pinned() -> None:
    assert catalogue.NAMES == ("pp-ocrv6-small", "doctr-mobilenet", "scratch")
    for file in catalogue.PP_OCR.files:
        assert len(file.sha256) == 64 and file.package
    for file in catalogue.DOCTR.files:
        assert file.sha256 in file.file and file.url.startswith("https://") and len(file.sha256) == 8
