"""The English texts: each that a template names is there, and each that is there is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend.console import texts

TEMPLATES = Path(texts.__file__).parent / "templates"


def test_pages_and_texts_name_the_same_keys() -> None:
    named = {
        key
        for path in [*TEMPLATES.rglob("*.html"), *TEMPLATES.parent.glob("*.py")]
        for key in re.findall(r"""\bt(?:ext)?\(\s*["']([\w.]+)["']""", path.read_text(encoding="utf-8"))
    }
    assert named == set(texts.ENGLISH)


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(KeyError):
        texts.text("no.such.text")
