"""From the order in which a text is read to the order in which its characters stand from left to right.

A network looks at a line from left to right, while labels have Hebrew and Arabic in the order of reading. The
one order is made from the other by a part of Unicode's rules (UAX 9) that undoes itself, so that what was
learned as it stands is answered as people write it. Where those rules cannot be undone, as with a number
before a Latin word in a Hebrew line, the two keep their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import bidirectional

_LEFT, _RIGHT = "([{<«\u2039≤⟨", ")]}>»\u203a≥⟩"
_MIRRORED = dict(zip(_LEFT + _RIGHT, _RIGHT + _LEFT, strict=True))
# In one letter each: letters of right-to-left scripts, those of others, digits, separators that stand inside
# of numbers, signs that do so in European ones, signs that belong to a number beside them; else a space.
_KINDS = {"R": "R", "AL": "R", "L": "L", "EN": "N", "AN": "N", "CS": "C", "ES": "E", "ET": "T"}
_BETWEEN = re.compile(r"[^R]+")
_WORDS = re.compile(r"[LNT](?:.*[LNT])?")
_EUROPEAN = re.compile(r"[NT](?:[NTCE]*[NT])?")
_ARABIC = re.compile(r"N(?:[NC]*N)?")
_LEFTWARDS = re.compile(r"R(?:[^L]*R)?")


def lean(text: str) -> int:
    """Letters of right-to-left scripts less those of others: above 0 where a text is read from the right."""
    kinds = _kinds(text)
    return kinds.count("R") - kinds.count("L")


def turned(text: str) -> str:
    """The characters of a line in the other order: of one as it is read, as they stand from left to right,
    and the reverse. A line without a letter of a right-to-left script stays as it is.
    """
    kinds = _kinds(text)
    if "R" not in kinds:
        return text
    if kinds.count("R") >= kinds.count("L"):
        return _from_the_right(text, kinds)
    parts, place = [], 0
    for words in _LEFTWARDS.finditer(kinds):
        start, end = words.span()
        parts += [text[place:start], _from_the_right(text[start:end], words[0])]
        place = end
    return "".join([*parts, text[place:]])


def _kinds(text: str) -> str:
    return "".join(_KINDS.get(bidirectional(one), " ") for one in text)


def _from_the_right(text: str, kinds: str) -> str:
    """All of it the other way round but words of other scripts, numbers, and the shapes of brackets."""
    parts, place = [], 0
    for start, end in _kept(text, kinds):
        parts += [_MIRRORED.get(one, one) for one in text[place:start]]
        parts.append(text[start:end])
        place = end
    parts += [_MIRRORED.get(one, one) for one in text[place:]]
    return "".join(reversed(parts))


def _kept(text: str, kinds: str) -> Iterator[tuple[int, int]]:
    """From and to of what keeps its order between letters of right-to-left scripts."""
    number = _ARABIC if any(bidirectional(one) == "AL" for one in text) else _EUROPEAN
    for between in _BETWEEN.finditer(kinds):
        if "L" in between[0]:
            found = _WORDS.search(kinds, *between.span())
            yield from [found.span()] if found else []
        else:
            spans = (one.span() for one in number.finditer(kinds, *between.span()))
            yield from (span for span in spans if "N" in kinds[slice(*span)])
