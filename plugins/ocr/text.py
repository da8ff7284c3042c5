"""Texts as they are learned and compared.

One rule for labels and answers: Unicode's canonical composition (NFC), every run of white space one space,
none at the ends, no invisible marks of direction. Nothing else is changed: case, width, quotes and dashes
stay as the labels have them.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence, Set

SPACE = " "
_LETTERS = 100  # from which on it shows that labels have one case only
_EXCEPTIONS = 0.005  # share of letters that may be of the other case all the same, as in "kg"
_ASCII = tuple(chr(code) for code in range(33, 127))
_SYMBOLS = frozenset(
    "ΔΣΦΩαβλμπφÅØø"
)  # letters that also stand for units and measures in texts of other scripts
_DIRECTIONS = dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
_PHONETIC = (("\u0250", "\u02af"), ("\u1d00", "\u1dbf"))
_KANA = frozenset({"HIRAGANA", "KATAKANA"})
_EAST_ASIAN = _KANA | {"CJK", "HANGUL", "BOPOMOFO"}


def normalise(text: str) -> str:
    """The text by the rule above."""
    return SPACE.join(unicodedata.normalize("NFC", text).translate(_DIRECTIONS).split())


def is_of_lines(text: str | None) -> bool:
    """Whether a text has several lines, which a reader of lines cannot answer."""
    return len((text or "").strip().splitlines()) > 1


def loosely(text: str) -> str:
    """What remains when case and spaces do not count."""
    return "".join(normalise(text).casefold().split())


def vocabulary(texts: Iterable[str], base: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The characters to learn, without blank and space: those of the texts (normalised), the ASCII of the
    base and what else it has of their scripts, in the base's order; behind them those that the base has never
    seen, which also come alone.
    """
    needed = {character for text in texts for character in text} - {SPACE}
    places = {character: place for place, character in enumerate(base)}
    wanted = needed | {character for character in _ASCII if character in places} | _akin(needed, base)
    unseen = tuple(sorted(wanted - places.keys()))
    known = sorted(wanted & places.keys(), key=places.__getitem__)
    return (*known, *unseen), unseen


def scripts(characters: Iterable[str]) -> tuple[str, ...]:
    """The scripts of the letters and digits beyond ASCII among these, in Unicode's words ("CJK", "LATIN" for
    letters with marks), in alphabetical order. A letter that stands for a unit or a measure shows no script.
    """
    return tuple(sorted({_script(one) for one in characters if one not in _SYMBOLS} - {""}))


def _akin(needed: Set[str], base: Iterable[str]) -> set[str]:
    """Letters and digits of the base that are in a script of the needed ones, as tomorrow's texts may have
    others of it than the labels do; in East Asian scripts also their punctuation, full-width signs only where
    the labels do not have the narrow ones in their place.
    """
    written = set(scripts(needed))
    if written & _KANA:
        written |= _KANA
    letters = {one for one in base if _script(one) in written}
    if not written & _EAST_ASIAN:
        return letters
    return letters | {
        one
        for one in base
        if ("\u3001" <= one <= "\u303f" or one == "\u30fb" or "\uff01" <= one <= "\uff65")
        and not one.isalnum()
        and unicodedata.normalize("NFKC", one) not in needed
    }


def _script(character: str) -> str:
    """The first word of the name in Unicode of a letter or digit; empty of ASCII, signs and ligatures."""
    category = unicodedata.category(character)
    if character.isascii() or (category[0] not in "LM" and category not in ("Nd", "Nl")):
        return ""
    if unicodedata.decomposition(character).startswith("<compat>"):
        return ""
    first = unicodedata.name(character, "").partition(" ")[0]
    if first == "LATIN" and any(low <= character <= high for low, high in _PHONETIC):
        return "PHONETIC"  # letters of dictionaries, many of which look like others
    return {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}.get(first, first)


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
