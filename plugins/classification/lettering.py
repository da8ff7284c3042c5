"""Class names and keys in pictures: whatever the script and length, in fonts that this machine has.

matplotlib's own font covers Latin, Greek, Cyrillic, Arabic and more, but no Chinese, Japanese or Korean.
Characters outside of it are drawn in other installed fonts; those that no font has are written as their
escapes, since boxes would make different names look the same.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import accumulate

from matplotlib import font_manager

_FIRST = "DejaVu Sans"
_NO_HELP = "Last Resort"  # draws every character as a box


class Lettering:
    """The fonts for some texts: `families` goes into matplotlib's `font.family`."""

    def __init__(self, texts: Iterable[str]) -> None:
        missing = {ord(character) for text in texts for character in text if character.isprintable()}
        missing -= _characters(_file(_FIRST))
        self.families = [_FIRST]
        if missing:
            for family in _others():
                if found := missing & _characters(_file(family)):
                    self.families.append(family)
                    missing -= found
        self._missing = missing

    def plain(self, text: str, most: int = 1000) -> str:
        """The text on one line, safe for matplotlib, at most so many letters wide: what is longer loses its
        middle, as the end of a key or a name often says more.
        """
        pieces = [self._shown(character) for character in unicodedata.normalize("NFC", text)]
        if sum(map(_width, pieces)) > most:
            front, back = _fitting(pieces, most // 2), _fitting(pieces[::-1], most - most // 2 - 1)
            pieces = [*front, "\N{HORIZONTAL ELLIPSIS}", *back[::-1]]
        return "".join(pieces).replace("$", r"\$")  # matplotlib would read dollar signs as formulas

    def _shown(self, character: str) -> str:
        if character.isspace():
            return " "
        if not character.isprintable() or ord(character) in self._missing:
            return character.encode("unicode_escape").decode()
        return character


def _fitting(pieces: Sequence[str], most: int) -> list[str]:
    """The first pieces that are together at most so wide."""
    widths = accumulate(map(_width, pieces))
    return [piece for piece, width in zip(pieces, widths, strict=True) if width <= most]


def _width(piece: str) -> int:
    """In letters: Chinese characters and their like take the room of two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in piece)


def _file(family: str) -> str:
    """The file that matplotlib draws a family with; others of it, the light ones, may have fewer glyphs."""
    return str(font_manager.findfont(family))


@cache
def _characters(path: str) -> frozenset[int]:
    """The code points that a font file has glyphs for; none for a file that cannot be read."""
    try:
        return frozenset(font_manager.get_font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def _others() -> list[str]:
    """The families of this machine that have an upright font, in a fixed order."""
    return sorted(
        {
            entry.name
            for entry in font_manager.fontManager.ttflist
            if entry.style == "normal"
            and _NO_HELP not in entry.name
            and not entry.name.startswith(("cm", "STIX"))
        }
    )
