"""The model card."""

from __future__ import annotations

from dataclasses import replace

from backend.models.card import render
from plugins.bundle import Manifest

MANIFEST = Manifest(
    plugin="classification",
    algorithm="classification-high-performance",
    name="parts-v1",
    created_at="2026-11-23T18:31:13+00:00",
    model={"labels": ["bolt", "nut|washer"]},
    metrics={"accuracy": 0.75, "examples": 4.0},
    details={
        "evaluated_on": "validation",
        "per_class": [
            {"label": "bolt", "precision": 1.0, "recall": 0.5, "f1": 0.667, "support": 2},
            {"label": "nut|washer", "precision": 0.667, "recall": 1.0, "f1": 0.8, "support": 2},
        ],
        "mistakes": [{"key": "parts/bolt/7.jpg", "label": "bolt", "predicted": "nut|washer", "conf": 0.93}],
    },
    base={"name": "efficientnet-lite0"},
    facts={"stage": "head"},
    parameters={"seed": 0, "learning_rate": None},
    snapshot="abc",
    libraries={"torch": "2.14.1"},
    files={},
)


def test_the_card_says_what_how_good_and_from_what() -> None:
    card = render(MANIFEST, "accuracy 0.750 against 0.500 of parts-v0 on the same 4 images")
    for expected in (
        "# parts-v1",
        "| accuracy | 0.75 | share of the images that got the right class |",
        "| bolt | 1.00 | 0.50 | 0.67 | 2 |",
        "| parts/bolt/7.jpg | bolt |",
        "Accuracy 0.750 against 0.500 of parts-v0",
        "| dataset snapshot | abc |",
        "| learning rate | chosen automatically |",
        "| torch version | 2.14.1 |",
    ):
        assert expected in card


def test_a_name_cannot_break_the_tables() -> None:
    assert "nut\\|washer" in render(MANIFEST)


def test_a_plugin_may_leave_the_details_out() -> None:
    card = render(replace(MANIFEST, details={}, model={}))
    assert "worst mistakes" not in card
