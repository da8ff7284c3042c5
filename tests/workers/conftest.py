"""The store and the dataset in it that the tests of datasets use."""

from __future__ import annotations

from tests.datasets.conftest import address, connection, draw, place, store

__all__ = ["address", "connection", "draw", "place", "store"]
