"""What the programs of a stack are told of the addresses by which others reach it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from backend import db, settings
from backend.cli import main
from backend.cli.embedded import lifecycle, programs
from backend.cli.embedded.home import Choices, Home
from backend.cli.embedded.ports import Ports
from backend.cli.errors import StartFailed
from backend.sealing import new_key

PUBLIC, STUDIO = "SIGHTLOOP_PUBLIC_URL", "SIGHTLOOP_LABEL_STUDIO_PUBLIC_URL"
LAN = "192.168.1.7"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(programs, "lan_address", lambda: LAN)
    home = Home(tmp_path)
    home.prepare()
    return home


def _told(home: Home, choices: Choices, **shell: str) -> tuple[str | None, str | None, str | None]:
    """The addresses of images, of Label Studio, and of services."""
    settings = programs.worker_environment(home, choices, shell)
    host = next(one for one in programs.programs(home, choices, shell) if one.name == programs.HOST)
    return settings.get(PUBLIC), settings.get(STUDIO), host.environment.get("SIGHTLOOP_HOST_NAME")


def test_a_stack_for_this_machine_alone_names_none(home: Home) -> None:
    assert _told(home, Choices(8700, "127.0.0.1", label_studio=True)) == (None, None, None)


def test_links_of_an_open_stack_lead_to_this_machine_from_others(home: Home) -> None:
    told = _told(home, Choices(8700, "0.0.0.0", label_studio=True))
    assert told == (f"http://{LAN}:8700", f"http://{LAN}:8710", LAN)
    told = _told(home, Choices(8700, "10.0.0.5", label_studio=False))
    assert told == ("http://10.0.0.5:8700", None, "10.0.0.5")


def test_with_https_pictures_do_not_hang_on_a_certificate_that_nobody_trusts_yet(home: Home) -> None:
    told = _told(home, Choices(8700, "0.0.0.0", label_studio=True, https=True))
    assert told == (None, f"http://{LAN}:8710", LAN)


def test_what_the_user_says_counts(home: Home) -> None:
    said = {PUBLIC: "https://v.example", STUDIO: "https://l.example", "SIGHTLOOP_HOST_NAME": "v.example"}
    told = _told(home, Choices(8700, "0.0.0.0", label_studio=True), **said)
    assert told == ("https://v.example", "https://l.example", "v.example")


def test_a_machine_without_a_network_is_opened_all_the_same(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "lan_address", lambda: None)
    assert _told(home, Choices(8700, "0.0.0.0", label_studio=True)) == (None, None, None)


def test_links_for_phones_go_by_what_the_owner_sees(home: Home) -> None:
    """The API makes them from the address at which the owner has the console, unless one is said."""
    choices = Choices(8700, "0.0.0.0", label_studio=True)
    assert PUBLIC not in programs.settings_environment(home, choices, {})
    assert programs.settings_environment(home, choices, {PUBLIC: "https://v.example"})[PUBLIC]


def test_https_is_reached_where_it_listens() -> None:
    assert programs.https_url(Choices(8700, "127.0.0.2", https=True)) == "https://127.0.0.2:8712"
    assert programs.https_url(Choices(8700, "127.0.0.1", https=True)) == "https://127.0.0.1:8712"


def test_data_of_a_newer_release_are_named(home: Home) -> None:
    choices = Choices(8700, "127.0.0.1", label_studio=False)
    url = settings.load(programs.settings_environment(home, choices, {})).database
    db.migrate(url)
    engine = db.connect(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StartFailed, match="a newer release has changed it; update Sightloop"):
        lifecycle._migrate(home, choices, {})


@pytest.mark.parametrize(
    "url, sentence",
    [
        (
            "mysql+pymysql://ann:whisper@db/sightloop",
            "needs the Python package pymysql, which is not installed",
        ),
        ("nothing://ann:whisper@db/sightloop", "no address of a database that SQLAlchemy knows"),
        ("postgresql+psycopg://ann:whisper@db:port/sightloop", "no address of a database"),
    ],
)
def test_a_database_that_cannot_be_opened_is_a_sentence_for_stack_and_worker(
    home: Home, url: str, sentence: str
) -> None:
    shell = {"SIGHTLOOP_DATABASE_URL": url}
    with pytest.raises(settings.SettingsError, match=sentence):
        lifecycle._migrate(home, Choices(8700, "127.0.0.1", label_studio=False), shell)
    told = {**os.environ, **shell, "SIGHTLOOP_DATA_DIR": str(home.path), "SIGHTLOOP_SECRET_KEY": new_key()}
    command = [sys.executable, "-m", "workers"]
    answer = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert answer.returncode == 2 and sentence in answer.stderr
    assert "Traceback" not in answer.stderr and "whisper" not in answer.stderr


def test_one_more_worker_is_told_what_those_of_the_stack_are_told(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.choose(Choices(8700, "0.0.0.0"))
    told = {PUBLIC: "https://v.example", "SIGHTLOOP_DATABASE_URL": "postgresql://db/sightloop"}
    home.keep_worker_environment(programs.worker_environment(home, Choices(8700, "0.0.0.0"), told))
    started: list[dict[str, str]] = []
    monkeypatch.setattr("os.execve", lambda program, command, environment: started.append(environment))
    monkeypatch.setenv("SIGHTLOOP_THREADS", "3")
    CliRunner().invoke(main, ["--data-dir", str(home.path), "worker"])
    (environment,) = started
    assert {name: environment[name] for name in told} == told
    assert environment["SIGHTLOOP_THREADS"] == "3"
    assert environment["SIGHTLOOP_REDIS_URL"] == programs.redis_url(home, Ports(8700))
