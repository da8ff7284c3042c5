"""The data directory: made once, private, the same secrets ever after."""

from __future__ import annotations

import shutil
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.cli.embedded.home import Choices, Home
from backend.cli.errors import DataDirUnusable
from backend.sealing import Sealer


def _secrets(home: Home) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in (home.path / "secrets").iterdir()}


def test_secrets_are_made_once_and_are_private(folder: Path) -> None:
    home = Home(folder)
    home.prepare()
    first = _secrets(home)
    home.prepare()
    assert _secrets(home) == first
    assert len(set(first.values())) == len(first) >= 7
    assert all(stat.S_IMODE((folder / "secrets" / name).stat().st_mode) == 0o600 for name in first)
    assert Sealer(first["secret-key"]).open(Sealer(first["secret-key"]).seal("x")) == "x"


def test_two_first_starts_at_once_agree_on_the_secrets(folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        homes = [Home(folder) for _ in range(8)]
        list(pool.map(Home.prepare, homes))
        found = list(pool.map(lambda home: home.secret("admin-token"), homes))
    assert len(set(found)) == 1
    assert not list(folder.rglob(".*"))


def test_choices_are_kept(folder: Path) -> None:
    home = Home(folder)
    assert home.choices() is None
    home.prepare()
    home.choose(Choices(9000, "0.0.0.0"))
    assert Home(folder).choices() == Choices(9000, "0.0.0.0")


def test_broken_choices_are_named(folder: Path) -> None:
    home = Home(folder)
    home.prepare()
    (folder / "stack.json").write_text("{")
    with pytest.raises(DataDirUnusable, match=r"stack\.json cannot be read"):
        home.choices()


def test_an_open_data_directory_is_closed(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    Home(folder).prepare()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_weights_may_be_there_before_the_first_start(folder: Path) -> None:
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "swin_t.pth").write_bytes(b"x")
    Home(folder).prepare()
    assert (folder / "weights" / "swin_t.pth").read_bytes() == b"x"


@pytest.mark.parametrize("length", [10, 25, 40, 60, 150])
def test_programs_can_make_sockets_where_they_make_things_for_a_moment(folder: Path, length: int) -> None:
    home = Home(folder / ("x" * length))
    home.prepare()
    home.empty_scratch()
    place = home.scratch / "torch-shm-dir-XXXXXX"
    place.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "manager.sock"))
    home.empty_scratch()
    assert list(home.scratch.iterdir()) == [] and stat.S_IMODE(home.scratch.stat().st_mode) == 0o700
    shutil.rmtree(home.run)


@pytest.mark.parametrize("length", [10, 60, 150])
def test_a_socket_path_is_never_too_long(folder: Path, length: int) -> None:
    assert len(str(Home(folder / ("x" * length)).socket)) <= 90
