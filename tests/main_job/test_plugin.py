"""The main job with a plugin of another distribution, of which the core knows nothing but its `Plugin`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins import bundle
from tests.cli.program import free_base, sightloop
from tests.main_job.conftest import Stack
from tests.plugins.photographs import MATERIALS, crop, encode

OUTSIDE = Path(__file__).parents[1] / "plugins" / "example_plugin"


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose Python has the example plugin installed."""
    made = Stack(tmp_path_factory.mktemp("extended"), free_base())
    path = os.pathsep.join(part for part in (str(OUTSIDE), os.environ.get("PYTHONPATH", "")) if part)
    try:
        made.run("up", "--no-label-studio", "--port", str(made.port), PYTHONPATH=path)
        yield made
    finally:
        sightloop("--data-dir", str(made.data_dir), "down")


@pytest.fixture(scope="module")
def trained(extended: Stack, photographs: Path) -> str:
    """A model of the plugin, from a dataset of its type whose labels are the names of folders."""
    extended.run("upload", str(photographs), "s3://factory/materials")
    extended.run("datasets", "create", "plain", "--type", "nearest-mean", "--path", "s3://factory/materials")
    extended.run("datasets", "sync", "plain")
    extended.run("datasets", "check", "plain")
    extended.run("train", "plain", "--dataset", "plain", "--algorithm", "nearest-mean", "--wait")
    return "plain"


def test_its_datasets_take_their_labels_from_folders(extended: Stack, trained: str) -> None:
    shown = extended.json("datasets", "show", trained)
    assert (shown["type"], shown["unlabelled"]) == ("nearest-mean", 0)
    assert extended.json("models", "show", trained)["labels"] == sorted(MATERIALS)


def test_its_models_are_ranked_by_its_headline_and_described_in_its_words(
    extended: Stack, trained: str, tmp_path: Path
) -> None:
    shown = extended.json("models", "show", trained)
    assert (shown["plugin"], shown["headline"]) == ("nearest-mean", "accuracy")
    assert f"accuracy {shown['metrics']['accuracy']:.3f}" in extended.run("models", "list")
    assert extended.json("models", "compare", trained, trained)["metrics"]["accuracy"]["favours"] == 0
    extended.run("models", "export", trained, "--format", "bundle", "--output", str(tmp_path / "m.zip"))
    bundle.unpack(tmp_path / "m.zip", tmp_path / "m", digest=shown["digest"])
    assert "got the right class" in (tmp_path / "m" / "model_card.md").read_text(encoding="utf-8")


def test_its_services_answer(extended: Stack, trained: str, tmp_path: Path) -> None:
    extended.run("deploy", "plain", "--model", trained, "--wait")
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encode(crop(MATERIALS[0], 100)))
    answer = json.loads(extended.run("predict", "plain", str(photo), "--json"))["result"]
    assert {output["label"] for output in answer["output"]} == set(MATERIALS)
