"""Texts as they are learned and compared.

One rule for labels and answers: Unicode's canonical composition (NFC), every run of white space one space,
none at the ends. Nothing else is changed: case, width, quotes and dashes stay as the labels have them.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

SPACE = " "
_LETTERS = 100  # from which on it shows that labels have one case only
_EXCEPTIONS = 0.005  # share of letters that may be of the other case all the same, as in "kg"
_ASCII = tuple(chr(code) for code in range(33, 127))


def normalise(text: str) -> str:
    """The text by the rule above."""
    return SPACE.join(unicodedata.normalize("NFC", text).split())


def loosely(text: str) -> str:
    """What remains when case and spaces do not count."""
    return "".join(normalise(text).casefold().split())


def vocabulary(texts: Iterable[str], base: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The characters to learn, without blank and space: those of the texts (normalised) and the ASCII of the
    base, in the base's order; behind them those that the base has never seen, which also come alone.
    """
    needed = {character for text in texts for character in text} - {SPACE}
    places = {character: place for place, character in enumerate(base)}
    wanted = needed | {character for character in _ASCII if character in places}
    unseen = tuple(sorted(wanted - places.keys()))
    known = sorted(wanted & places.keys(), key=places.__getitem__)
    return (*known, *unseen), unseen


def other_case(texts: Iterable[str], characters: Sequence[str]) -> dict[str, str]:
    """Where labels are written in one case whatever is printed: the letters of the other case among
    `characters`, and the one that the labels have for each. Empty where both cases occur, or too few letters
    to tell. Letters that the labels do have stay as they are.
    """
    counts = Counter(character for text in texts for character in text)
    upper = sum(count for one, count in counts.items() if one.isupper())
    lower = sum(count for one, count in counts.items() if one.islower())
    if upper + lower < _LETTERS or min(upper, lower) > _EXCEPTIONS * (upper + lower):
        return {}
    swapped = ((one, one.upper() if one.islower() else one.lower()) for one in characters)
    wrong = str.islower if upper > lower else str.isupper
    return {one: other for one, other in swapped if wrong(one) and other in characters and not counts[one]}


def kind(character: str) -> str:
    """The class of a character in words: digits, upper case, lower case, other letters, spaces or signs."""
    if character.isspace():
        return "spaces"
    if character.isdigit():
        return "digits"
    if character.isupper():
        return "upper case"
    if character.islower():
        return "lower case"
    return "other letters" if character.isalpha() else "signs"
