"""The one rule for the names of datasets, training tasks, models, services and what else a user names."""

from __future__ import annotations

import re

from backend.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,29}")
RULE = "1 to 30 characters: letters, digits, _ and -, starting with a letter or digit"


def check_name(name: str, noun: str) -> str:
    """The name, if it keeps the rule. `noun` says what is named, for the message.

    Raises `InvalidRequest`.
    """
    if not _NAME.fullmatch(name):
        shown = repr(name if len(name) <= 60 else f"{name[:60]}...")
        raise InvalidRequest(f"{shown} cannot name a {noun}: {RULE}")
    return name
