"""The answers of a model's evaluation one by one, as a file of its bundle: what each was, and what was true.

    answers.json   {"keys": [...], "texts": [...], "rows": [[key, truth, answer, confidence, right], ...]}

Rows name keys and texts by their places in the lists; a truth or an answer that there is not is -1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from plugins.bundle import BundleError
from plugins.contract import Judged

FILE = "answers.json"
_DIGITS = 6  # of a confidence, as the model server shows it


class _Places:
    """Gives each text a place in a list, the same one each time."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def __call__(self, text: str | None) -> int:
        return -1 if text is None else self._places.setdefault(text, len(self._places))

    def all(self) -> list[str]:
        return list(self._places)


def write(folder: Path, answers: Iterable[Judged]) -> None:
    """Write the file into a bundle that is being made; nothing without answers."""
    key, text = _Places(), _Places()
    rows = [
        [key(one.key), text(one.truth), text(one.answer), round(one.conf, _DIGITS), int(one.right)]
        for one in answers
    ]
    if rows:
        content = {"keys": key.all(), "texts": text.all(), "rows": rows}
        (folder / FILE).write_text(
            json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8"
        )


def read(path: Path) -> Sequence[Judged]:
    """The answers, in the order of the evaluation. Raises `BundleError` for another file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        keys, texts = content["keys"], [*map(str, content["texts"]), None]  # -1 is the last one
        return tuple(_judged(row, keys, texts) for row in content["rows"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise BundleError(f"{FILE} is not a list of answers: {error!r}") from None


def _judged(row: Sequence[Any], keys: Sequence[Any], texts: Sequence[str | None]) -> Judged:
    key, truth, answer, conf, right = row
    return Judged(str(keys[key]), texts[truth], texts[answer], float(conf), bool(right))
