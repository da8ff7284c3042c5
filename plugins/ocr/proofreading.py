"""Which labelled texts are probably wrong, by what a reader reads in their boxes.

A reader misreads, too, and labels have habits of their own (no capitals, no comma): both do the same thing
again and again. A slip of whoever typed happens once. So a text counts as doubtful when the reader is sure of
another one, and when what differs, a character put for another one or left out, hardly ever differs so
elsewhere in the dataset. Case and spaces are no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from plugins.contract import Doubt, Output
from plugins.ocr.text import SPACE, loosely, normalise

Edit = tuple[str, str]
"""A character of the label and the one that is read in its place; empty for none."""

LEAST = 0.8  # of certainty divided by what habit explains
_HABIT = 30.0  # weight of how often the same difference occurs elsewhere


def doubts(texts: Sequence[str], outputs: Sequence[Output]) -> list[Doubt]:
    """See `plugins.contract.Proofreading`. Where nothing was read there is no other opinion."""
    edits = [_edits(text, output.label) for text, output in zip(texts, outputs, strict=True)]
    often = Counter(edit for found in edits for edit in found)
    holding = Counter(character for text in texts for character in {*normalise(text).casefold(), ""})
    found: list[tuple[float, Doubt]] = []
    for place, (text, output, differing) in enumerate(zip(texts, outputs, edits, strict=True)):
        if not differing or not output.label:
            continue
        # How often the others that have this character are read so: of several differences the rarest tells.
        habit = min((often[edit] - 1) / holding[edit[0]] for edit in differing)
        strength = output.conf / (1 + _HABIT * habit)
        if strength >= LEAST:
            found.append((strength, Doubt(place, text, output.label, output.conf)))
    return [doubt for _, doubt in sorted(found, key=lambda one: -one[0])]


def _edits(text: str, read: str) -> set[Edit]:
    """What differs between a label and what is read, but for case and spaces."""
    if loosely(text) == loosely(read):
        return set()
    one, other = normalise(text).casefold(), normalise(read).casefold()
    edits = {
        (
            one[edit.src_pos] if edit.tag != "insert" else "",
            other[edit.dest_pos] if edit.tag != "delete" else "",
        )
        for edit in Levenshtein.editops(one, other)
    }
    return edits - {(SPACE, ""), ("", SPACE)}
