"""Signed links to images."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.datasets import links
from backend.db import now
from backend.errors import LinkExpired, NotFound
from backend.sealing import new_key
from backend.settings import Settings

SETTINGS = Settings(secret_key=new_key(), public_url="https://labels.example.org")


def _signed(**change: float) -> str:
    address = links.link(SETTINGS, 7, "etag", now() + timedelta(**(change or {"days": 1})))
    assert address.startswith("https://labels.example.org/images/")
    return address.rpartition("/")[2]


def test_a_link_names_its_image() -> None:
    assert links.image_of(SETTINGS, _signed()) == 7


def test_an_expired_link_is_refused() -> None:
    with pytest.raises(LinkExpired):
        links.image_of(SETTINGS, _signed(seconds=-1))


def test_a_link_of_another_key_is_refused() -> None:
    with pytest.raises(NotFound):
        links.image_of(Settings(secret_key=new_key()), _signed())


@pytest.mark.parametrize("text", ["", "x", "x" * 10_000, "WzcsMV0.abc", "\x00"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(NotFound):
        links.image_of(SETTINGS, text)


def test_a_changed_image_has_another_address() -> None:
    expires = now() + timedelta(days=1)
    assert links.link(SETTINGS, 7, "a", expires) != links.link(SETTINGS, 7, "b", expires)
