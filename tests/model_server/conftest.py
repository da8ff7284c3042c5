from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.bundle import Bundle
from tests.model_server.bundles import make_bundle
from tests.model_server.servers import Server, plugin_path, running


@pytest.fixture(scope="session")
def plugins_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plugin_path(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def hold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While this file exists, the tiny model does not finish images of the size HELD."""
    return tmp_path_factory.mktemp("hold") / "hold"


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, hold: Path) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "one", hold)


@pytest.fixture(scope="session")
def second_bundle(tmp_path_factory: pytest.TempPathFactory, hold: Path) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "two", hold, version=2)


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, plugins_folder: Path, bundle: Bundle
) -> Iterator[Server]:
    """One service for all tests that leave it as it is: two instances."""
    folder = tmp_path_factory.mktemp("server")
    settings = {"instances": 2, "max_body_bytes": 2_000_000, "max_images": 4}
    with running(folder, plugins_folder, bundle, **settings) as started:
        yield started
