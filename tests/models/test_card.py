"""The model card."""

from __future__ import annotations

from dataclasses import replace

import pytest

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


TRUSTED = replace(
    MANIFEST,
    model={
        "labels": ["bolt", "nut|washer"],
        "trust": {
            "file": "trust.npz",
            "precision": 0.95,
            "thresholds": {"bolt": 0.71, "nut|washer": None},
            "unlike": {"limit": 0.4321, "images": 40, "false_alarms": 0.015},
        },
    },
    metrics={"accuracy": 0.75, "ece": 0.05, "coverage": 0.25, "acted_precision": 1.0, "examples": 4.0},
    details={
        "evaluated_on": "test",
        "intervals": {
            "accuracy": [0.301, 0.954],
            "coverage": [0.046, 0.699],
            "acted_precision": [0.2065, 1.0],
        },
        "reliability": {
            "ece": 0.05,
            "chance": 0.4,
            "mean_confidence": 0.8,
            "bins": [{"confidence": 0.8, "accuracy": 0.75, "low": 0.3, "high": 0.95, "images": 4}],
        },
        "decisions": {"images": 4, "acted": 1, "right": 1, "not_sure": 2, "unlike_training": 1},
        "per_class": [
            {
                "label": "bolt",
                "precision": 1.0,
                "precision_interval": [0.2065, 1.0],
                "recall": 0.5,
                "recall_interval": [0.0945, 0.9055],
                "f1": 0.667,
                "support": 2,
                "answered": 1,
                "acted": 1,
                "acted_right": 1,
            },
        ],
    },
    facts={
        "label_suspects": [
            {"key": "a/1.jpg", "label": "bolt", "predicted": "nut|washer", "conf": 0.9, "label_conf": 0.02}
        ]
    },
)


def test_the_card_says_what_how_good_and_from_what() -> None:
    card = render(MANIFEST, "accuracy 0.750 against 0.500 of parts-v0 on the same 4 images")
    for expected in (
        "# parts-v1",
        "| accuracy | 75 % | share of the images that got the right class |",
        "| bolt | 50 % | 100 % | 67 % | 2 |",
        "| parts/bolt/7.jpg | bolt |",
        "Accuracy 0.750 against 0.500 of parts-v0",
        "probably a little worse",
        "| dataset snapshot | abc |",
        "| learning rate | chosen automatically |",
        "| torch version | 2.14.1 |",
    ):
        assert expected in card.replace("\n", " ") or expected in card


def test_the_card_says_how_far_to_trust_the_model() -> None:
    card = render(TRUSTED)
    text = card.replace("\n", " ")
    for expected in (
        "**75 % (30 to 95 %) of 4 test images got the right class.**",
        "| accuracy | 75 % (30 to 95 %) |",
        "| bolt | 50 % (9 to 91 %) | 100 % (21 to 100 %) | 67 % | 2 |",
        "On the 4 images measured it was 80 % on average, and 75 % of the answers were right. No more",
        "over 1 group of equally many images",
        "Wanted: 95 % of the answers acted on are right.",
        "it acted on 1, 25 % (5 to 70 %); 100 % (21 to 100 %) of these were right.",
        "| bolt | 0.71 | 1 of 1 answers | 1 (100 %) |",
        "| nut\\|washer | never: no confidence is enough |",
        "farther than 0.4321",
        "About 1.5 % of good images are expected to be refused",
        "by mistake (of the 4 images measured it was 1).",
        "where the label is wrong, correct it and train again",
        "| a/1.jpg | bolt | nut\\|washer | 0.90 | 0.02 |",
    ):
        assert expected in text, expected
    assert "probably a little worse" not in text


@pytest.mark.parametrize(
    "ece, confidence, verdict",
    [(0.3, 0.99, "too high"), (0.3, 0.5, "too low"), (0.3, 0.76, "Some confidences are too high and others")],
)
def test_what_is_wrong_with_the_confidences_is_said(ece: float, confidence: float, verdict: str) -> None:
    reliability = {**TRUSTED.details["reliability"], "ece": ece, "chance": 0.1, "mean_confidence": confidence}
    card = render(replace(TRUSTED, details={"reliability": reliability}))
    assert verdict in card.replace("\n", " ")


def test_a_model_that_acts_on_nothing_and_has_no_suspects() -> None:
    made = {"images": 4, "acted": 0, "right": 0, "not_sure": 4, "unlike_training": 0}
    card = render(
        replace(
            TRUSTED,
            model={**TRUSTED.model, "trust": {**TRUSTED.model["trust"], "unlike": None}},
            metrics={"accuracy": 0.75, "coverage": 0.0, "examples": 4.0},
            details={"decisions": made},
            facts={"label_suspects": [], "label_suspects_among": 800},
        )
    )
    assert "it acted on 0, 0 %; none of these were right" in card.replace("\n", " ")
    assert "None were found among the 800 training images that were looked at." in card
    assert "It cannot tell when an image is unlike" in card


def test_five_hundred_classes_stay_readable() -> None:
    labels = [f"class {n}" for n in range(500)]
    trust = {**TRUSTED.model["trust"], "thresholds": dict.fromkeys(labels, 0.9)}
    card = render(replace(TRUSTED, model={"labels": labels, "trust": trust}))
    assert "class 29 and 470 more" in card.replace("\n", " ")
    assert "And 440 more classes." in card


def test_a_name_cannot_break_the_tables() -> None:
    assert "nut\\|washer" in render(MANIFEST)
    odd = {"key": "a\nb<script>.jpg", "label": "bolt", "predicted": "bolt", "conf": 0.93}
    assert "| a b&lt;script>.jpg |" in render(replace(MANIFEST, details={"mistakes": [odd]}))


def test_a_plugin_may_leave_the_details_out() -> None:
    card = render(replace(MANIFEST, details={}, model={}, facts={}))
    for section in ("worst mistakes", "None of these", "confidence means", "When to act", "label mistakes"):
        assert section not in card


def test_a_warning_comes_before_the_numbers() -> None:
    card = render(replace(MANIFEST, facts={"warning": "hardly better than <always> bolt"}))
    assert card.index("**Warning:** hardly better than &lt;always> bolt") < card.index("| metric |")
    assert card.count("hardly better") == 1


def test_hundreds_of_classes_do_not_fill_the_card() -> None:
    row = {"precision": 1.0, "recall": 1.0, "support": 2}
    rows = [{**row, "label": f"part {number:03}", "f1": number / 500} for number in range(500)]
    card = render(replace(MANIFEST, details={**MANIFEST.details, "per_class": rows}))
    assert "Of 500 classes the 60 hardest:" in card
    assert "| part 059 |" in card and "| part 060 |" not in card


READER = replace(
    MANIFEST,
    plugin="ocr",
    model={"vocabulary": [*"0123456789", "<", " "]},
    metrics={"end_to_end_f1": 0.8, "end_to_end_recall": 0.75, "character_error_rate": 0.05, "examples": 4.0},
    details={
        "by_length": [{"length": "1 to 2", "regions": 8, "found": 1.0, "exact": 0.5, "right": 0.75}],
        "by_character": [{"kind": "digits", "characters": 20, "right": 0.95}],
        "confusions": [{"truth": "0", "answer": "", "count": 3}],
        "mistakes": [
            {
                "key": "a|b.jpg",
                "wrong": 2,
                "missed": 1,
                "invented": 0,
                "misread": 1,
                "regions": 5,
                "texts": [],
            }
        ],
    },
)


def test_the_card_of_a_reader_says_what_it_reads_and_where_it_errs() -> None:
    text = render(READER)
    assert "It knows 12 characters: 0123456789&lt;" in text
    assert "**75 % of the texts on 4 validation images were found and read rightly.**" in text
    assert "| character error rate | 0.05 | characters to change" in text
    assert "| 1 to 2 | 8 | 100 % | 75 % | 50 % |" in text
    assert "| digits | 20 | 95 % |" in text
    assert "| 0 | nothing | 3 |" in text
    assert "| a\\|b.jpg | 5 | 1 | 1 | 0 |" in text


def test_mistakes_of_another_form_are_left_out() -> None:
    """A plugin of another distribution may list what it likes."""
    assert "worst mistakes" not in render(
        replace(MANIFEST, details={"mistakes": [{"key": "x", "off_by": 3}]})
    )
