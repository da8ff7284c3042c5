"""What the programs of a stack are told of the addresses by which others reach it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.cli.embedded import programs
from backend.cli.embedded.home import Choices, Home

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
    settings = programs.settings_environment(home, choices, shell)
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
