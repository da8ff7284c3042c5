"""The main job of a reader on a real stack: from pages with XML beside them to texts over HTTP."""

from __future__ import annotations

import base64
from pathlib import Path

import httpx
import pytest

from backend.labels import voc
from plugins import bundle
from plugins.contract import Label
from tests.main_job.conftest import Stack
from tests.plugins.ocr_pages import page

PAGES = 8
UNSEEN = PAGES


@pytest.fixture(scope="session")
def texts(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset of rendered pages; one has no label, and one XML is damaged."""
    folder = tmp_path_factory.mktemp("pages")
    for number in range(PAGES):
        example, data = page(number)
        (folder / f"{number}.png").write_bytes(data)
        label = Label(regions=example.regions)
        (folder / f"{number}.xml").write_bytes(voc.write(f"{number}.png", label, width=240, height=120))
    (folder / "unlabelled.png").write_bytes(page(PAGES + 1)[1])
    (folder / "unlabelled.xml").write_bytes(b"<annotation><object>")
    stack.run("upload", str(folder), "s3://shop/tags")
    stack.run("datasets", "create", "tags", "--type", "ocr", "--path", "s3://shop/tags")
    stack.run("datasets", "sync", "tags")
    stack.run("datasets", "check", "tags")
    return "tags"


@pytest.fixture(scope="session")
def reader(stack: Stack, texts: str) -> str:
    algorithm = ("--algorithm", "ocr-high-performance", "--time-budget", "20s")
    stack.run("train", "reader", "--dataset", texts, *algorithm, "--wait")
    return "reader"


def test_the_dataset_counts_what_is_labelled(stack: Stack, texts: str) -> None:
    shown = stack.json("datasets", "show", texts)
    assert (shown["images"], shown["labelled"], shown["unlabelled"], shown["usable"]) == (9, 8, 1, 8)
    assert {finding["code"]: finding["count"] for finding in shown["findings"]}["label_left_out"] == 1


def test_the_bundle_of_a_reader_is_whole_and_its_card_speaks_of_text(
    stack: Stack, reader: str, tmp_path: Path
) -> None:
    shown = stack.json("models", "show", reader)
    assert 0 <= shown["metrics"]["end_to_end_f1"] <= 1
    stack.run("models", "export", reader, "--format", "bundle", "--output", str(tmp_path / "m.zip"))
    opened = bundle.unpack(tmp_path / "m.zip", tmp_path / "m", digest=shown["digest"])
    assert {"detector.onnx", "recogniser.onnx", "weights.safetensors"} <= set(opened.manifest.files)
    card = (tmp_path / "m" / "model_card.md").read_text(encoding="utf-8")
    assert "were found and read rightly" in card and "PaddleOCR" in card
    assert "## Precision" in card and "The detector is served in" in card
    assert "detector " in shown["served"] and "recogniser " in shown["served"]


def test_a_service_reads_a_page_that_it_has_not_seen(stack: Stack, reader: str, tmp_path: Path) -> None:
    made = stack.json("deploy", "read", "--model", reader, "--wait")
    _, data = page(UNSEEN)
    body = {"dataArray": [{"name": "image", "type": "stream", "body": base64.b64encode(data).decode()}]}
    headers = {"Authorization": made["token"]}
    answer = httpx.post(made["endpoint"], json=body, headers=headers, timeout=30).json()
    first, second = answer["result"]["output"]
    assert (first["label"], second["label"]) == ("A87", "B 8")
    assert first["pos"][0][1] < second["pos"][0][1] and 0 < first["conf"] <= 1
    path = tmp_path / "page.png"
    path.write_bytes(data)
    assert "A87" in stack.run("predict", "read", str(path))
    refused = httpx.post(f"{made['endpoint']}?explain=true", json=body, headers=headers, timeout=30)
    assert refused.status_code == 400 and "no evidence maps" in refused.json()["errorDetail"]
