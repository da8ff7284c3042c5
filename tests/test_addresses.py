"""Which addresses mean the same server, and under which one phones reach the console."""

from __future__ import annotations

import ipaddress

import pytest

from backend import addresses
from backend.settings import Settings


@pytest.mark.parametrize(
    "settings, seen, expected",
    [
        (Settings(), "http://127.0.0.1:8700/", None),
        (Settings(), "http://localhost:8700/", None),
        (Settings(), "http://[::1]:8700/", None),
        (Settings(host="0.0.0.0"), "http://192.168.1.7:8700/", "http://192.168.1.7:8700"),
        (Settings(host="192.168.1.9", port=9000), "http://127.0.0.1:9000/", "http://192.168.1.9:9000"),
        (Settings(public_url="https://s.example.org"), "http://127.0.0.1:8700/", "https://s.example.org"),
        (
            Settings(public_url="http://127.0.0.1:8700", phone_url="https://192.168.1.7:8712"),
            "http://127.0.0.1:8700/",
            "https://192.168.1.7:8712",
        ),
    ],
)
def test_phones_get_an_address_that_they_reach(settings: Settings, seen: str, expected: str | None) -> None:
    assert addresses.for_phones(settings, seen) == expected


def test_a_stack_that_listens_everywhere_names_this_machine_in_its_network() -> None:
    found, own = (
        addresses.for_phones(Settings(host="0.0.0.0"), "http://127.0.0.1:8700/"),
        addresses.lan_address(),
    )
    assert found == (f"http://{own}:8700" if own else None)
    assert own is None or not ipaddress.ip_address(own).is_loopback


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("http://127.0.0.1:8333", "http://localhost:8333/", True),
        ("https://S3.example.org", "https://s3.example.org:443", True),
        ("http://127.0.0.1:8333", "http://127.0.0.1:9000", False),
        ("http://s3.example.org", "http://s4.example.org", False),
        ("http://127.0.0.1:port", "http://127.0.0.1:8333", False),
    ],
)
def test_the_same_server_is_known_by_other_spellings(one: str, other: str, same: bool) -> None:
    assert addresses.is_same_server(one, other) is same
