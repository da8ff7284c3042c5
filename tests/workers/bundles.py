"""What a bundle says of itself when nothing but a name matters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plugins.bundle import Manifest

_BARE = Manifest(
    plugin="classification",
    algorithm="",
    name="",
    created_at="2026-01-01T00:00:00",
    model={"labels": []},
    metrics={},
    details={},
    base={},
    facts={},
    parameters={},
    snapshot="",
    libraries={},
    files={},
)


def bare(name: str, algorithm: str, **changes: Any) -> Manifest:
    """A manifest of that name with these values, all others empty."""
    return replace(_BARE, name=name, algorithm=algorithm, **changes)
