"""How the texts of the labels run, for where the recogniser is in doubt.

`SUHTOTAL` and `RESERVATI0N` are what single letters look like; whoever has read other receipts knows better.
A model of character sequences, counted on the labels' texts, is weighed against the recogniser while the most
probable text is looked for. It says nothing of which digit stands where, as no number shall be read by habit,
and it is asked only where the recogniser is unsure of a character.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from plugins.ocr.predictor.network import Floats

SURE = 0.99  # probability of every character of a line from which on it is left as it is
_ORDER = 6  # characters of the longest sequence counted, the last one included
WEIGHT, BONUS = 0.2, 0.4  # see benchmarks/ocr.md
_MOST = 500_000  # sequences counted at most, some 100 bytes each; the most frequent texts come first
_START = "\x02"
_DIGIT, _DIGITS = "0", 10

_PREFIXES = 6  # texts that are followed at a time
_CHARACTERS, _LEAST = 6, 1e-3  # that may come next, and how probable they are at least
_BLANK = 0.9995  # probability from which on nothing else is thought of


def pooled(text: str) -> str:
    """With every digit as the same one."""
    return "".join(_DIGIT if character.isdigit() else character for character in text)


def keeps_digits(before: str, after: str) -> bool:
    """Whether every digit of a text is one of the other: none is dropped, put in or another one.
    A character may have become a digit or a digit a letter (`RESERVATI0N`) where nothing else has moved.
    """
    if len(before) == len(after):
        return all(
            one == other or not (one.isdigit() and other.isdigit())
            for one, other in zip(before, after, strict=True)
        )
    return [one for one in before if one.isdigit()] == [one for one in after if one.isdigit()]


class Language:
    """Probabilities of characters after others: sequences of up to `_ORDER` characters, interpolated down to
    single ones and to none (Witten and Bell 1991, The zero-frequency problem, method C).

    `texts` are normalised and `pooled`, with how often each occurs; `characters` is how many there are to
    choose from. `weight` is that of the logarithm of a character's probability beside the recogniser's, and
    `bonus` is added for every character, since longer texts are less probable.
    """

    def __init__(
        self, texts: Mapping[str, int], characters: int, *, weight: float = WEIGHT, bonus: float = BONUS
    ) -> None:
        self.texts, self.weight, self.bonus = dict(texts), weight, bonus
        self._uniform = 1 / max(characters, 1)
        self._counts: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        for text, count in self.texts.items():
            self._count(_START + text, count)

    def _count(self, text: str, count: int) -> None:
        for end in range(1, len(text)):
            for start in range(max(0, end - _ORDER + 1), end + 1):
                sequence, before = text[start : end + 1], text[start:end]
                self._kinds[before] += sequence not in self._counts
                self._counts[sequence] += count
                self._totals[before] += count

    def probability(self, before: str, character: str) -> float:
        """Of this character after those `before` it, which begin where the text begins."""
        digit = character.isdigit()
        context = (_START + pooled(before[-_ORDER:]))[1 - _ORDER :]
        answer, character = self._uniform * (_DIGITS if digit else 1), _DIGIT if digit else character
        for start in range(len(context), -1, -1):
            seen = context[start:]
            total, kinds = self._totals[seen], self._kinds[seen]
            if not total:
                break
            answer = (self._counts[seen + character] + kinds * answer) / (total + kinds)
        return answer / _DIGITS if digit else answer

    def to_json(self) -> Mapping[str, Any]:
        """What `open_language` reads."""
        return {"texts": self.texts, "weight": self.weight, "bonus": self.bonus}

    def path(self, probabilities: Floats, characters: Sequence[str]) -> list[tuple[int, int]]:
        """(steps, classes), class 0 the blank -> class and step of each character of the most probable text:
        prefix beam search (Hannun et al. 2014, arXiv:1408.2873), each character weighed by this model.
        """
        prefixes = [_Prefix("", 1.0, 0.0, 0.0, ())]
        for step, row in enumerate(probabilities):
            if row[0] > _BLANK:
                prefixes = [replace(one, blank=one.both, letter=0.0) for one in prefixes]
                continue
            # Of 18,000 characters the best few are found six times as fast as all are sorted.
            best = np.argpartition(-row, min(_CHARACTERS, len(row)) - 1)[:_CHARACTERS].tolist()
            letters = {place: float(row[place]) for place in best if place and row[place] > _LEAST}
            prefixes = self._next(prefixes, step, float(row[0]), letters, characters)
        return list(max(prefixes, key=_Prefix.score).path)

    def _next(
        self,
        prefixes: list[_Prefix],
        step: int,
        blank: float,
        letters: Mapping[int, float],
        characters: Sequence[str],
    ) -> list[_Prefix]:
        """The most probable texts after one step more."""
        grown: dict[str, _Prefix] = {}
        for one in prefixes:
            _add(grown, replace(one, blank=one.both * blank, letter=0.0))
            for place, share in letters.items():
                character = characters[place]
                again = one.text.endswith(character)
                if again:  # the same one goes on
                    _add(grown, replace(one, blank=0.0, letter=one.letter * share))
                before = one.blank if again else one.both
                if before:
                    chance = math.log(self.probability(one.text, character))
                    _add(
                        grown,
                        _Prefix(
                            one.text + character,
                            0.0,
                            before * share,
                            one.language + self.weight * chance + self.bonus,
                            (*one.path, (place, step)),
                        ),
                    )
        kept = sorted(grown.values(), key=_Prefix.score, reverse=True)[:_PREFIXES]
        most = max(one.both for one in kept)
        return [replace(one, blank=one.blank / most, letter=one.letter / most) for one in kept]


@dataclass(frozen=True, slots=True)
class _Prefix:
    """The beginning of a text: how probable it is with a blank and with its last letter at the end, what the
    language says of it, and class and step of each character.
    """

    text: str
    blank: float
    letter: float
    language: float
    path: tuple[tuple[int, int], ...]

    @property
    def both(self) -> float:
        """Its probability, beside that of the others."""
        return self.blank + self.letter

    def score(self) -> float:
        """By which texts are compared."""
        return math.log(max(self.both, 1e-300)) + self.language


def _add(grown: dict[str, _Prefix], one: _Prefix) -> None:
    known = grown.get(one.text)
    if known is None:
        grown[one.text] = one
    else:
        grown[one.text] = replace(known, blank=known.blank + one.blank, letter=known.letter + one.letter)


def learn(texts: Iterable[str], characters: int) -> Language:
    """From normalised texts. Of very many the rarest are left out."""
    counts = Counter(pooled(text) for text in texts)
    kept: dict[str, int] = {}
    sequences = 0
    for text, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])):
        sequences += _ORDER * len(text)
        if sequences > _MOST:
            break
        kept[text] = count
    return Language(kept, characters)


def open_language(folder: Path, model: Mapping[str, Any]) -> Language | None:
    """That of this manifest; None where lines are read letter by letter. Raises whatever a damaged file makes
    its readers raise.
    """
    said = model.get("language")
    if not said:
        return None
    told = json.loads((folder / said["file"]).read_text(encoding="utf-8"))
    texts = {str(text): int(count) for text, count in told["texts"].items()}
    weight, bonus = float(told["weight"]), float(told["bonus"])
    return Language(texts, len(model["vocabulary"]), weight=weight, bonus=bonus)
