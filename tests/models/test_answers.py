"""What answers one by one tell: shares by confidence, the images of a cell, and where two models differ."""

from __future__ import annotations

import pytest

from backend.models.answers import Level, flips, levels, may_be_chance, of_cell
from plugins.contract import Judged


def _judged(key: str, truth: str | None, answer: str | None, conf: float) -> Judged:
    return Judged(key, truth, answer, conf, truth is not None and truth == answer)


CLASSES = [
    _judged("a", "bolt", "bolt", 0.95),
    _judged("b", "bolt", "nut", 0.9),
    _judged("c", "nut", "nut", 0.6),
    _judged("d", "nut", "nut", 0.4),
]


def test_the_higher_the_confidence_the_fewer_are_answered() -> None:
    found = levels(CLASSES)
    assert len(found) == 101
    assert found[0] == Level(0.0, 1.0, 0.75, 0.75)
    assert found[50] == Level(0.5, 0.75, 2 / 3, 0.5)
    assert found[90] == Level(0.9, 0.5, 0.5, 0.25)
    assert found[100] == Level(1.0, 0.0, None, 0.0)


def test_missed_texts_count_as_not_found_and_invented_ones_as_wrong() -> None:
    texts = [
        _judged("a", "12.50", "12.50", 0.9),
        _judged("a", "milk", None, 0.0),
        _judged("a", None, "ghost", 0.3),
    ]
    assert levels(texts)[0] == Level(0.0, 1.0, 0.5, 0.5)
    assert levels(texts)[50] == Level(0.5, 0.5, 1.0, 0.5)


def test_without_answers_or_truths_there_is_nothing_to_show() -> None:
    assert levels([]) == []
    assert levels([_judged("a", "milk", None, 0.0)]) == []
    assert levels([_judged("a", None, "ghost", 0.3)]) == []


def test_a_cell_has_its_images_the_surest_first() -> None:
    assert [one.key for one in of_cell(CLASSES, "nut", "nut")] == ["c", "d"]
    assert [one.key for one in of_cell(CLASSES, "bolt", "")] == ["a", "b"]
    assert [one.key for one in of_cell(CLASSES, "", "nut")] == ["b", "c", "d"]
    assert of_cell(CLASSES, "screw", "") == []


def test_flips_are_the_images_that_only_one_model_gets_right() -> None:
    second = [
        _judged("a", "bolt", "nut", 0.7),
        _judged("b", "bolt", "bolt", 0.6),
        _judged("c", "nut", "nut", 0.99),
        _judged("d", "bolt", "nut", 0.9),  # labelled anew since
        _judged("e", "nut", "nut", 0.9),
    ]
    found = flips(CLASSES, second)
    assert (found.images, found.right) == (3, (2, 2))
    assert [flip.key for flip in found.better] == ["b"]
    assert [flip.key for flip in found.worse] == ["a"]
    assert found.worse[0].after == (second[0],)
    other_way = flips(second, CLASSES)
    assert ([f.key for f in other_way.better], [f.key for f in other_way.worse]) == (["a"], ["b"])


def test_an_image_of_text_is_better_with_fewer_mistakes() -> None:
    def page(*answers: str) -> list[Judged]:
        return [
            _judged("p", truth, given, 0.9) for truth, given in zip(("x", "y", "z"), answers, strict=True)
        ]

    assert [flip.key for flip in flips(page("x", "?", "?"), page("x", "y", "?")).better] == ["p"]
    same = flips(page("x", "?", "z"), page("?", "y", "z"))
    assert (same.better, same.worse, same.right) == ([], [], (0, 0))


@pytest.mark.parametrize(
    ("better", "worse", "probability"),
    [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (3, 9, 0.146), (900, 1100, 8.45e-6)],
)
def test_a_difference_of_a_few_images_may_be_chance(better: int, worse: int, probability: float) -> None:
    def side(wrong: range) -> list[Judged]:
        return [_judged(str(n), "x", "?" if n in wrong else "x", 0.9) for n in range(better + worse)]

    found = flips(side(range(better)), side(range(better, better + worse)))
    assert (len(found.better), len(found.worse)) == (better, worse)
    assert found.p_value == pytest.approx(probability, rel=0.01)
    assert may_be_chance(found.p_value) == (probability > 0.05)


def test_models_without_lists_of_answers_have_nothing_in_common() -> None:
    assert flips([], CLASSES).images == 0
