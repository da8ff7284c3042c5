"""What `sightloop doctor` says of the pretrained weights and of the console's files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from backend.cli.embedded import diagnosis
from backend.cli.embedded.home import Home
from plugins.classification import bases, catalogue
from plugins.ocr import catalogue as ocr_catalogue


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This user's caches of PyTorch and docTR do not count."""
    monkeypatch.setattr(bases, "torch_cache", lambda: tmp_path / "cache")
    monkeypatch.setenv("DOCTR_CACHE_DIR", str(tmp_path / "cache"))


def test_what_is_installed_and_what_can_be_had(tmp_path: Path) -> None:
    verdict = diagnosis.base_weights(Home(tmp_path))
    assert verdict.verdict == "ok"
    assert "efficientnet-lite0, efficientnet-lite2, pp-ocrv6-small: as published" in verdict.detail
    assert "downloaded when a task takes one" in verdict.detail
    assert str(tmp_path / "weights") in verdict.fix
    assert all(base.name in verdict.detail and base.url in verdict.fix for base in catalogue.LARGER)
    assert all(f"{file.file} from {file.url}" in verdict.fix for file in ocr_catalogue.DOCTR.files)
    assert "doctr-mobilenet" in verdict.detail and "scratch" not in verdict.detail


def test_a_file_in_the_weights_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(catalogue.RESNET50, sha256=hashlib.sha256(b"weights").hexdigest())
    monkeypatch.setattr(catalogue, "ALL", (*catalogue.INSTALLED, own))
    monkeypatch.setattr(ocr_catalogue, "ALL", (ocr_catalogue.PP_OCR,))
    monkeypatch.setenv("SIGHTLOOP_WEIGHTS_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("SIGHTLOOP_OFFLINE", "true")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / own.file).write_bytes(b"damaged")
    assert "resnet50: not here, never downloaded" in diagnosis.base_weights(Home(tmp_path)).detail
    (tmp_path / "elsewhere" / own.file).write_bytes(b"weights")
    verdict = diagnosis.base_weights(Home(tmp_path))
    assert "resnet50, pp-ocrv6-small: as published" in verdict.detail and not verdict.fix


def test_a_damaged_installation_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(catalogue.LITE0, sha256="0" * 64)
    monkeypatch.setattr(catalogue, "ALL", (wrong, catalogue.LITE2))
    verdict = diagnosis.base_weights(Home(tmp_path))
    assert verdict.verdict == "problem" and wrong.package in verdict.fix


def test_a_damaged_reader_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector, recogniser = ocr_catalogue.PP_OCR.files
    wrong = replace(ocr_catalogue.PP_OCR, files=(detector, replace(recogniser, sha256="0" * 64)))
    monkeypatch.setattr(ocr_catalogue, "ALL", (wrong,))
    verdict = diagnosis.base_weights(Home(tmp_path))
    assert verdict.verdict == "problem" and "pp-ocrv6-small" in verdict.detail
    assert verdict.fix == "run `pip install --force-reinstall rapidocr`"


def test_a_console_without_its_stylesheet_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert diagnosis.console().verdict == "ok"
    monkeypatch.setattr(diagnosis, "_VENDORED", tmp_path)
    verdict = diagnosis.console()
    assert verdict.verdict == "problem" and "make assets" in verdict.fix
