"""Texts as they are learned and compared.

One rule for labels and answers: Unicode's canonical composition (NFC), every run of white space one space,
none at the ends. Nothing else is changed: case, width, quotes and dashes stay as the labels have them.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

SPACE = " "
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
