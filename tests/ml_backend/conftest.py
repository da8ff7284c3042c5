"""One database, store and ML backend for all tests; each test makes a dataset of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.storage import StoreAddress
from plugins.bundle import Bundle
from tests import servers
from tests.ml_backend import bundles
from tests.ml_backend.world import World, plugin_path, serving, world


@pytest.fixture(scope="session")
def address() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_path(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def here(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, address: StoreAddress, site: Path
) -> Iterator[World]:
    """The world with a running ML backend."""
    with world(tmp_path_factory.mktemp("world"), migrated, address) as made, serving(made, site):
        yield made


@pytest.fixture
def hasty(
    tmp_path_factory: pytest.TempPathFactory, migrated: Path, address: StoreAddress, site: Path
) -> Iterator[World]:
    """Another, whose ML backend waits a second for a model."""
    with world(tmp_path_factory.mktemp("hasty"), migrated, address) as made, serving(made, site, app="hasty"):
        yield made


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundles.classifier(tmp_path_factory.mktemp("bundles") / "colours", "colours")


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """While this file exists, a model of the plugin `reading` does not finish opening."""
    return tmp_path / "hold"


@pytest.fixture
def reader(tmp_path: Path, hold: Path) -> Bundle:
    return bundles.reader(tmp_path / "reader", "reader", hold)
