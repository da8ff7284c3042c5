"""Doubtful texts: slips are told from a reader's and a labeller's habits."""

from __future__ import annotations

from plugins.contract import Output
from plugins.ocr.proofreading import doubts


def _found(*pairs: tuple[str, str, float]) -> list[tuple[str, str]]:
    """What is listed of pairs of label, reading and confidence, beside forty that are read as labelled."""
    rest = [(f"Total {number}.50", f"Total {number}.50", 1.0) for number in range(40)]
    every = [*pairs, *rest]
    found = doubts([text for text, _, _ in every], [Output(read, conf) for _, read, conf in every])
    return [(each.given, each.suggested) for each in found]


def test_a_slip_is_listed_with_both_opinions() -> None:
    for slip in ("Total 13.05", "Totol 13.50", "Total 13.5", "Sum"):
        assert _found((slip, "Total 13.50", 0.99)) == [(slip, "Total 13.50")]


def test_case_and_spaces_are_no_difference() -> None:
    assert _found(("TOTAL 13.50", "Total 13.50", 1.0), ("Total13.50", "Total 13.50", 1.0)) == []


def test_what_the_reader_is_not_sure_of_is_not_listed() -> None:
    assert _found(("Total 13.05", "Total 13.50", 0.7), ("Total 14.50", "", 0.0)) == []


def test_what_differs_again_and_again_is_a_habit_and_no_slip() -> None:
    habit = [(f"Price: {number}", f"Price {number}", 0.99) for number in range(20)]
    slip = ("Pricr: 99", "Price 99", 0.99)
    assert _found(*habit) == []
    assert _found(*habit, slip) == [("Pricr: 99", "Price 99")]


def test_the_surest_come_first() -> None:
    pairs = [("Totol 1.50", "Total 1.50", 0.9), ("Fotal 2.50", "Total 2.50", 0.99)]
    assert [given for given, _ in _found(*pairs)] == ["Fotal 2.50", "Totol 1.50"]


def test_no_texts_give_no_doubts() -> None:
    assert doubts([], []) == []
