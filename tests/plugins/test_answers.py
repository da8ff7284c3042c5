"""The answers of an evaluation as a file of the bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from plugins import answers
from plugins.bundle import BundleError
from plugins.classification.evaluate import evaluate
from plugins.contract import Judged, Output, Prediction, Region
from plugins.ocr.evaluate import evaluate as evaluate_text
from tests.plugins.context import example

ODD = 'x"</script>\u202e\u05d0'
ANSWERS = (
    Judged("a.jpg", "bolt", "bolt", 0.98765432, True),
    Judged(ODD, "bolt", ODD, 0.5, False),
    Judged("a.jpg", None, "ghost", 0.2, False),
    Judged("a.jpg", "12.50", None, 0.0, False),
)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    answers.write(tmp_path, ANSWERS)
    found = answers.read(tmp_path / answers.FILE)
    assert [(one.key, one.truth, one.answer, one.right) for one in found] == [
        (one.key, one.truth, one.answer, one.right) for one in ANSWERS
    ]
    assert found[0].conf == pytest.approx(0.987654, abs=1e-9)


def test_without_answers_there_is_no_file(tmp_path: Path) -> None:
    answers.write(tmp_path, ())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        json.dumps({"keys": ["a"], "texts": [], "rows": [[0, 5, 0, 0.5, 1]]}),
        json.dumps({"keys": ["a"], "texts": ["b"], "rows": [[0, 0]]}),
        json.dumps({"keys": ["a"], "texts": ["b"], "rows": [[0, 0, 0, "much", 1]]}),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / answers.FILE).write_text(content)
    with pytest.raises(BundleError, match=r"answers\.json is not a list of answers"):
        answers.read(tmp_path / answers.FILE)


def test_an_evaluation_of_classes_has_one_answer_an_image() -> None:
    examples = [example(f"{label}.jpg", b"", label, "validation") for label in ("bolt", "nut")]
    outputs = (Output("bolt", 0.7), Output("nut", 0.3))
    found = evaluate(examples, [Prediction(outputs), Prediction(outputs)])
    assert found.answers == [
        Judged("bolt.jpg", "bolt", "bolt", 0.7, True),
        Judged("nut.jpg", "nut", "bolt", 0.7, False),
    ]


def test_an_evaluation_of_texts_has_the_missed_and_the_invented_ones_too() -> None:
    corners = ((0.0, 0.0), (50.0, 0.0), (50.0, 20.0), (0.0, 20.0))
    untranscribed = Region(tuple((x, y + 60) for x, y in corners))
    image = replace(
        example("a.jpg", b"", "", "validation"),
        regions=(Region(corners, "read"), untranscribed),
        width=100,
        height=100,
    )
    outputs = [
        Output(label, conf, tuple((x / 100, (y + down) / 100) for x, y in corners))
        for label, conf, down in (("Read", 0.9, 0), ("ghost", 0.3, 30))
    ]
    found = evaluate_text([image], [Prediction(tuple(outputs))]).answers
    assert [(one.truth, one.answer, one.right) for one in found] == [
        ("read", "Read", True),
        (None, "ghost", False),
    ]
    (missed,) = evaluate_text([image], [Prediction(())]).answers
    assert (missed.truth, missed.answer, missed.conf) == ("read", None, 0.0)
