"""What the answers of an evaluation say: how a model would do from a confidence on, and where two differ."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from plugins.contract import Judged

_STEPS = 100
_LEVEL = 0.05


@dataclass(frozen=True)
class Level:
    """What becomes of the answers when those below `confidence` are not acted on.

    All three are shares: `answered` of all answers, `precision` of those acted on that are right (None when
    there are none), `recall` of all that there was to answer that is answered rightly.
    """

    confidence: float
    answered: float
    precision: float | None
    recall: float


@dataclass(frozen=True)
class Flip:
    """An image that two models do not judge alike: what each of them said of it."""

    key: str
    before: tuple[Judged, ...]
    after: tuple[Judged, ...]


@dataclass(frozen=True)
class Flips:
    """Two models on the images that both were measured on. `better` has fewer wrong answers with the second
    model, `worse` more; `right` counts the images without a wrong answer, of the first and the second.
    """

    images: int
    right: tuple[int, int]
    better: Sequence[Flip]
    worse: Sequence[Flip]

    @property
    def p_value(self) -> float:
        """How probable so unequal numbers of better and worse images are between equally good models: the
        two-sided sign test, McNemar's exact one where an image has one answer. 1 for no difference.
        """
        return _sign_test(len(self.better), len(self.worse))


def may_be_chance(p_value: float) -> bool:
    """Whether such a difference is no sign of a better model: at the level of 5 %."""
    return p_value > _LEVEL


def levels(answers: Sequence[Judged]) -> list[Level]:
    """From confidence 0 to 1 in steps of a hundredth; empty without answers."""
    given = sorted(one.conf for one in answers if one.answer is not None)
    right = sorted(one.conf for one in answers if one.right)
    wanted = sum(one.truth is not None for one in answers)
    if not given or not wanted:
        return []
    return [_level(step / _STEPS, given, right, wanted) for step in range(_STEPS + 1)]


def _level(confidence: float, given: Sequence[float], right: Sequence[float], wanted: int) -> Level:
    """Both lists are confidences in order."""
    acted = len(given) - bisect_left(given, confidence)
    rightly = len(right) - bisect_left(right, confidence)
    precision = rightly / acted if acted else None
    return Level(confidence, acted / len(given), precision, rightly / wanted)


def of_cell(answers: Iterable[Judged], truth: str, answer: str) -> list[Judged]:
    """The images labelled `truth` and answered with `answer`, the surest first; empty texts mean any."""
    found = [
        one for one in answers if (not truth or one.truth == truth) and (not answer or one.answer == answer)
    ]
    return sorted(found, key=lambda one: (-one.conf, one.key))


def flips(first: Iterable[Judged], second: Iterable[Judged]) -> Flips:
    """Where the answers of two models differ in being right. Images whose truth has changed between the two
    evaluations are left out: they ask another question.
    """
    before, after = _by_image(first), _by_image(second)
    same = [key for key in before if key in after and _truths(before[key]) == _truths(after[key])]
    better: list[Flip] = []
    worse: list[Flip] = []
    for key in same:
        change = _wrong(after[key]) - _wrong(before[key])
        if change:
            (better if change < 0 else worse).append(Flip(key, before[key], after[key]))
    right = tuple(sum(not _wrong(side[key]) for key in same) for side in (before, after))
    return Flips(len(same), (right[0], right[1]), _worst_first(better), _worst_first(worse))


def _sign_test(one: int, other: int) -> float:
    """Twice the probability of at most the smaller number in so many tosses of a coin, at most 1."""
    tosses, tail, ways = one + other, 0, 1
    for heads in range(min(one, other) + 1):
        tail += ways
        ways = ways * (tosses - heads) // (heads + 1)
    return min(1.0, 2 * tail / (1 << tosses))  # of whole numbers: exact however many there are


def _by_image(answers: Iterable[Judged]) -> dict[str, tuple[Judged, ...]]:
    ordered = sorted(answers, key=attrgetter("key"))
    return {key: tuple(rows) for key, rows in groupby(ordered, key=attrgetter("key"))}


def _truths(rows: Iterable[Judged]) -> Counter[str | None]:
    return Counter(one.truth for one in rows if one.truth is not None)


def _wrong(rows: Iterable[Judged]) -> int:
    return sum(not one.right for one in rows)


def _worst_first(found: Iterable[Flip]) -> list[Flip]:
    """Those that differ most, then those of which the wrong side is surest."""

    def order(flip: Flip) -> tuple[int, float, str]:
        rows = [one for one in (*flip.before, *flip.after) if not one.right]
        return -abs(_wrong(flip.after) - _wrong(flip.before)), -max(one.conf for one in rows), flip.key

    return sorted(found, key=order)
