"""Signed links to images."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backend.datasets import links
from backend.datasets.tables import Dataset, Image
from backend.db import now
from backend.errors import LinkExpired, NotFound
from backend.sealing import new_key
from backend.settings import Settings

SETTINGS = Settings(secret_key=new_key(), public_url="https://labels.example.org")


DATASET = Dataset(id=3, created_at=now())


def _image(etag: str = "etag", key: str = "a/1.jpg") -> Image:
    return Image(id=7, dataset_id=3, key=key, etag=etag)


def _signed(**change: float) -> str:
    address = links.link(SETTINGS, DATASET, _image(), now() + timedelta(**(change or {"days": 1})))
    assert address.startswith("https://labels.example.org/images/")
    return address.rpartition("/")[2]


def test_a_link_names_its_image() -> None:
    named = links.named(SETTINGS, _signed())
    assert (named.image_id, named.mark) == (7, links.mark(DATASET, _image("changed since")))


def test_an_expired_link_is_refused() -> None:
    with pytest.raises(LinkExpired):
        links.named(SETTINGS, _signed(seconds=-1))


def test_a_link_of_another_key_is_refused() -> None:
    with pytest.raises(NotFound):
        links.named(Settings(secret_key=new_key()), _signed())


@pytest.mark.parametrize("text", ["", "x", "x" * 10_000, "WzcsMV0.abc", "\x00"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(NotFound):
        links.named(SETTINGS, text)


def test_a_changed_image_has_another_address() -> None:
    expires = now() + timedelta(days=1)
    one, other = (links.link(SETTINGS, DATASET, _image(etag), expires) for etag in "ab")
    assert one != other


def test_an_image_that_has_the_id_of_a_deleted_one_is_told_from_it() -> None:
    later = Dataset(id=3, created_at=DATASET.created_at + timedelta(seconds=1))
    marks = {links.mark(DATASET, _image()), links.mark(later, _image()), links.mark(DATASET, _image(key="b"))}
    assert len(marks) == 3
