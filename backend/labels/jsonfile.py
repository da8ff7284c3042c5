"""JSON of strangers: numbers that are numbers, bounded in size and depth, every entry with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from math import isfinite
from typing import Any, NoReturn

MAX_BYTES = 64 * 1024**2  # of a file that is read as a whole
_SPACE = re.compile(r"[ \t\r\n]*")


class Refused(ValueError):
    """A file or a part of one that cannot be taken, in one sentence; `line` is 0 where none can be named."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


def text_of(data: bytes) -> str:
    """The file as text. Raises `Refused`."""
    if len(data) > MAX_BYTES:
        raise Refused(f"it has {len(data):,} bytes; at most {MAX_BYTES:,} are read, so split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused("it is not UTF-8; save it as UTF-8", data.count(b"\n", 0, error.start) + 1) from None


def array(text: str) -> Iterator[tuple[int, Any]]:
    """The entries of the array that the text is, each with its line. Raises `Refused`."""
    places = list(_entries(text, _skip(text, 0), whole=True))
    yield from _lined(text, places)


def arrays(text: str) -> dict[str, list[tuple[int, Any]]]:
    """The arrays that stand in the object that the text is, by name; other members are left out.

    Raises `Refused`.
    """
    at = _expect(text, _skip(text, 0), "{", "an object")
    found: dict[str, list[tuple[int, Any]]] = {}
    while text[at : at + 1] != "}":
        name, at = _value(text, at)
        if not isinstance(name, str):
            raise _refused(text, at, "the name of a member is no string")
        at = _skip(text, _expect(text, at, ":", "a colon"))
        start = at
        if text[at : at + 1] == "[":
            places = list(_entries(text, at, whole=False))
            found[name] = list(_lined(text, places))
        _, at = _value(text, start)
        at = _next(text, at, "}")
    _end(text, at + 1)
    return found


def value_of(text: str) -> Any:
    """The one value that the text is. Raises `Refused`."""
    value, at = _value(text, _skip(text, 0))
    _end(text, at)
    return value


def number(value: Any) -> float | None:
    """A number that means a place; integers may be too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e9 < value < 1e9:
        return None
    return float(value) if isfinite(value) else None


def _entries(text: str, at: int, *, whole: bool) -> Iterator[tuple[int, Any]]:
    """Each entry of an array with the place where it starts."""
    at = _expect(text, at, "[", "a list")
    while text[at : at + 1] != "]":
        start = at
        value, at = _value(text, at)
        yield start, value
        at = _next(text, at, "]")
    if whole:
        _end(text, at + 1)


def _lined(text: str, places: list[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    line = 1
    for (before, _), (start, value) in pairwise([(0, None), *places]):
        line += text.count("\n", before, start)
        yield line, value


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError:
        raise _refused(text, at, "its lists and objects stand too deep in each other") from None
    except json.JSONDecodeError as error:
        raise _refused(text, error.pos, f"it is no whole JSON file: {error.msg}") from None
    except ValueError as error:
        reason = str(error) if isinstance(error, Refused) else "a number in it has too many digits"
        raise _refused(text, at, reason) from None
    return value, _skip(text, end)


def _next(text: str, at: int, closing: str) -> int:
    """Behind the comma, or at the bracket that closes."""
    if text[at : at + 1] == ",":
        at = _skip(text, at + 1)
        if text[at : at + 1] != closing:
            return at
    elif text[at : at + 1] == closing:
        return at
    raise _refused(text, at, "it is no whole JSON file: a comma or bracket is missing, or it is cut off")


def _expect(text: str, at: int, char: str, what: str) -> int:
    if text[at : at + 1] != char:
        raise _refused(text, at, f"it does not have the form of such a file: {what} is missing here")
    return _skip(text, at + 1)


def _end(text: str, at: int) -> None:
    if _skip(text, at) != len(text):
        raise _refused(text, at, "something stands behind the end of the JSON")


def _skip(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _refused(text: str, at: int, reason: str) -> Refused:
    return Refused(reason, text.count("\n", 0, at) + 1)


def _constant(name: str) -> NoReturn:
    raise Refused(f"{name} is no number")


def _float(digits: str) -> float:
    value = float(digits)
    return value if isfinite(value) else _constant(digits[:40])


_DECODER = json.JSONDecoder(parse_constant=_constant, parse_float=_float)
