"""Metrics of a reader, against answers worked out by hand."""

from __future__ import annotations

import json
import math

import pytest

from plugins.contract import Example, Output, Point, Prediction, Region
from plugins.ocr import geometry
from plugins.ocr.evaluate import evaluate
from plugins.ocr.matching import pairs
from plugins.ocr.text import kind, loosely, normalise, other_case, vocabulary

WIDTH, HEIGHT = 200, 100


def box(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def output(text: str, points: tuple[Point, ...], conf: float = 0.9) -> Output:
    return Output(text, conf, tuple((x / WIDTH, y / HEIGHT) for x, y in points))


def example(*regions: Region) -> Example:
    return Example("a.jpg", "e", 1, "h", "validation", regions=regions, width=WIDTH, height=HEIGHT)


LINE, OTHER, FAR = box(10, 10, 110, 30), box(10, 50, 110, 70), box(150, 80, 190, 95)


def test_what_is_right_but_for_case_and_spaces_counts_in_the_headline_only() -> None:
    truth = example(Region(LINE, "Total 9.00"), Region(OTHER, "CASH"))
    answer = Prediction((output("TOTAL9.00", LINE), output("CASH", OTHER)))
    metrics = evaluate([truth], [answer]).metrics
    assert metrics["end_to_end_f1"] == 1
    assert metrics["end_to_end_f1_strict"] == 0.5
    assert (metrics["exact_match"], metrics["exact_match_loose"]) == (0.5, 1)
    assert metrics["detection_f1"] == 1
    assert metrics["character_error_rate"] == pytest.approx(5 / 14)  # o t a l and the space, of 10 + 4


def test_a_missed_region_and_an_invented_one_cost_recall_and_precision() -> None:
    truth = example(Region(LINE, "one"), Region(OTHER, "two"))
    answer = Prediction((output("one", LINE), output("noise", FAR), output("dust", box(150, 5, 190, 20))))
    metrics = evaluate([truth], [answer]).metrics
    assert metrics["detection_precision"] == pytest.approx(1 / 3)
    assert metrics["detection_recall"] == 0.5
    assert metrics["detection_f1"] == pytest.approx(0.4)
    assert metrics["end_to_end_f1"] == pytest.approx(0.4)


def test_a_box_must_cover_half_of_the_region() -> None:
    truth = example(Region(box(0, 0, 100, 20), "text"))
    for right, counts in ((52, True), (48, False)):
        found = evaluate([truth], [Prediction((output("text", box(0, 0, right, 20)),))])
        assert (found.metrics["end_to_end_f1"] == 1) is counts


def test_ignored_regions_and_answers_in_them_do_not_count() -> None:
    truth = example(Region(LINE, "good"), Region(OTHER, "###", ignored=True))
    answer = Prediction(
        (output("good", LINE), output("a", box(10, 50, 50, 70)), output("b", box(60, 50, 110, 70)))
    )
    assert evaluate([truth], [answer]).metrics["detection_f1"] == 1


def test_a_region_of_several_lines_does_not_count() -> None:
    """Nothing learns from it, and no line that is found can be it."""
    address = box(10, 10, 110, 60)
    truth = example(Region(address, "Main Street 1\nSpringfield"), Region(FAR, "CASH"))
    lines = output("Main Street 1", box(10, 10, 110, 34)), output("Springfield", box(10, 36, 110, 60))
    found = evaluate([truth], [Prediction((*lines, output("CASH", FAR)))])
    assert (found.metrics["end_to_end_f1"], found.metrics["detection_f1"]) == (1, 1)
    assert found.metrics["regions"] == 1 and found.details["mistakes"] == []


def test_a_region_without_transcription_counts_for_finding_only() -> None:
    truth = example(Region(LINE, "good"), Region(OTHER, None))
    evaluation = evaluate([truth], [Prediction((output("good", LINE), output("what", OTHER)))])
    assert evaluation.metrics["detection_recall"] == 1
    assert evaluation.metrics["end_to_end_f1"] == 1
    assert evaluation.details["untranscribed"] == 1
    missed = evaluate([truth], [Prediction((output("good", LINE),))]).metrics
    assert (missed["detection_recall"], missed["end_to_end_f1"]) == (0.5, 1)


def test_an_image_without_text_wants_no_answer() -> None:
    text, answer = example(Region(LINE, "a")), Prediction((output("a", LINE),))
    assert evaluate([text, example()], [answer, Prediction(())]).metrics["end_to_end_f1"] == 1
    assert evaluate([text, example()], [answer, answer]).metrics["end_to_end_f1"] == pytest.approx(2 / 3)


def test_one_answer_serves_one_region() -> None:
    truth = example(Region(LINE, "a"), Region(LINE, "a"))
    assert evaluate([truth], [Prediction((output("a", LINE),))]).metrics["detection_recall"] == 0.5


def test_rotated_regions_and_polygons_are_matched() -> None:
    corners = ((50.0, 20.0), (120.0, 60.0), (110.0, 78.0), (40.0, 38.0))
    polygon = (*box(10, 80, 60, 95)[:2], (62.0, 88.0), *box(10, 80, 60, 95)[2:])
    truth = example(Region(corners, "tilted"), Region(polygon, "round", shape="polygon"))
    answer = Prediction((output("tilted", corners), output("round", box(10, 80, 61, 95))))
    assert evaluate([truth], [answer]).metrics["end_to_end_f1"] == 1


def test_the_details_say_what_goes_wrong() -> None:
    truth = example(Region(LINE, "B0X 10"), Region(OTHER, "x" * 45))
    evaluation = evaluate([truth], [Prediction((output("BOX 1O", LINE), output("y", FAR)))])
    details = json.loads(json.dumps(dict(evaluation.details), allow_nan=False))
    assert details["confusions"][0] == {"truth": "0", "answer": "O", "count": 2}
    assert [row["length"] for row in details["by_length"]] == ["6 to 10", "41 and more"]
    assert {row["kind"]: row["right"] for row in details["by_character"]}["digits"] == pytest.approx(1 / 3)
    (mistake,) = details["mistakes"]
    assert (mistake["wrong"], mistake["missed"], mistake["invented"], mistake["misread"]) == (3, 1, 1, 1)


@pytest.mark.parametrize("examples", [[], [example()], [example(Region(LINE, "a", ignored=True))]])
def test_where_there_is_no_text_nothing_is_said_to_be_read_rightly(examples: list[Example]) -> None:
    metrics = evaluate(examples, [Prediction(())] * len(examples)).metrics
    assert all(math.isfinite(value) for value in metrics.values())
    assert metrics["end_to_end_f1"] == metrics["end_to_end_recall"] == metrics["detection_f1"] == 0


def test_a_thousand_regions_are_matched_one_to_one() -> None:
    many = [
        Region(box(x * 2, y * 2, x * 2 + 1.8, y * 2 + 1.8), f"{x} {y}") for x in range(40) for y in range(25)
    ]
    found = pairs(example(*many), Prediction(tuple(output(one.text or "", one.points) for one in many)))
    assert len(found) == 1000 and all(pair.exact for pair in found)


def test_the_overlap_is_that_of_the_areas() -> None:
    square = geometry.quads([Region(box(0, 0, 10, 10))])
    others = geometry.quads([Region(box(5, 0, 15, 10)), Region(box(20, 20, 30, 30)), Region(box(2, 2, 4, 4))])
    assert geometry.overlaps(square, others)[0].tolist() == pytest.approx([1 / 3, 0, 0.04])
    assert geometry.intersections(square, others)[0].tolist() == pytest.approx([50, 0, 4])


def test_texts_are_compared_composed_and_with_single_spaces() -> None:
    assert normalise("  Cafe\u0301 \t au\nlait ") == "Caf\u00e9 au lait"
    assert normalise("\u05d0\u200f 7\u200e") == "\u05d0 7"
    assert loosely("Stra\u00dfe 1") == loosely("STRASSE1")
    assert [kind(one) for one in "9Aa-字 "] == [
        "digits",
        "upper case",
        "lower case",
        "signs",
        "other letters",
        "spaces",
    ]


def test_the_vocabulary_is_that_of_the_labels_their_scripts_and_ascii() -> None:
    base = ["é", "b", "a", "0", "中", "→", " "]
    characters, unseen = vocabulary(["ab é", "字"], base)
    assert characters == ("é", "b", "a", "0", "中", "字")
    assert unseen == ("字",)


@pytest.mark.parametrize(
    ("label", "kept"),
    [
        ("ab", ""),
        ("\u4eac1", "\u4eac\u6caa\u3005\u3007\u3002\uff1a"),  # other ideographs, and their punctuation
        ("\u4eac:", "\u4eac\u6caa\u3005\u3007\u3002"),  # a colon is written narrow here
        ("caf\u00e9", "\u00e9\u00df"),  # letters with marks, neither ligatures nor those of dictionaries
        ("10 k\u03a9", "\u03a9"),  # a unit is no Greek
        ("\u03bb\u03cc\u03b3\u03bf\u03c2", "\u03bb\u03cc\u03b3\u03bf\u03c2\u03b1\u03a9"),
        ("\u304b", "\u3002\uff1a\u304b\u304d\u30ab\u30fc"),  # both kinds of kana
        ("\uff11", "\uff11\uff12"),
    ],
)
def test_characters_that_labels_lack_are_kept_where_their_script_occurs(label: str, kept: str) -> None:
    base = (
        "ab1\u00e9\u00df\u025b\ufb01\u03a9\u03b1\u03bb\u03cc\u03b3\u03bf\u03c2\u0416\u4eac\u6caa\u3005\u3007"
        "\u3002\uff1a\u304b\u304d\u30ab\u30fc\uff11\uff12\u2192:"
    )
    characters, unseen = vocabulary([label], base)
    assert {one for one in characters if not one.isascii()} == set(kept)
    assert set(unseen) == set(label) - set(base) - {" "}


def test_labels_in_one_case_say_how_letters_are_written() -> None:
    known = "ABCabcÄä1"
    assert other_case(["ABÄ1 BA"] * 20, known) == {"a": "A", "b": "B", "c": "C", "ä": "Ä"}
    assert other_case(["ab1 ba"] * 25, known) == {"A": "a", "B": "b", "C": "c", "Ä": "ä"}
    assert other_case(["ABC"] * 100 + ["a"], known) == {"b": "B", "c": "C", "ä": "Ä"}


@pytest.mark.parametrize("texts", [["ABC"] * 30, ["ABCD"] * 100 + ["abc"], ["123"] * 99, []])
def test_few_letters_or_both_cases_say_nothing(texts: list[str]) -> None:
    assert other_case(texts, "ABCDabc") == {}
