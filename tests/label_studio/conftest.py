"""The real Label Studio, for every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.label_studio import real
from tests.label_studio.real import RealLabelStudio


@pytest.fixture(scope="session")
def label_studio() -> Iterator[RealLabelStudio]:
    """One that runs; a test makes projects of its own in it."""
    yield from real.label_studio()
