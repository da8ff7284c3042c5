"""Snapshots: what is frozen, under which name, and what is refused."""

from __future__ import annotations

import gzip
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import update

from backend.datasets import snapshot
from backend.datasets.tables import Dataset, Image
from backend.db import now, transaction
from backend.errors import InvalidRequest, NotEnoughData, ObjectMissing
from backend.storage import ObjectStore
from tests.datasets.conftest import BUCKET, Draw, Place


def _fill(place: Place, draw: Draw, **classes: int) -> None:
    seed = 0
    for label, count in classes.items():
        for number in range(count):
            seed += 1
            place.put(f"{label}/{number}.jpg", draw(seed))
    place.sync()
    place.check()


def _freeze(place: Place, *labels: str, **shares: Any) -> snapshot.Snapshot:
    with place.sessions() as session:
        return snapshot.freeze(session, place.dataset, labels, **shares)


def test_usable_images_with_their_labels_are_frozen(place: Place, draw: Draw) -> None:
    _fill(place, draw, cat=10, dog=10, fox=2)
    place.put("dog/broken.jpg", b"broken")
    place.put("unlabelled.jpg", draw(99))
    place.sync()
    place.check()
    frozen = _freeze(place, "cat", "dog")
    assert Counter((e.label, e.split) for e in frozen.examples) == {
        ("cat", "train"): 9,
        ("cat", "validation"): 1,
        ("dog", "train"): 9,
        ("dog", "validation"): 1,
    }
    assert [e.key for e in frozen.examples] == sorted(e.key for e in frozen.examples)
    rows = place.images()
    first = frozen.examples[0]
    row = rows[first.key.removeprefix(place.prefix)]
    assert (first.etag, first.size, first.content_hash) == (row.etag, row.size, row.content_hash)
    assert first.group
    assert len(_freeze(place).examples) == 22


def test_the_same_index_has_the_same_name(place: Place, draw: Draw) -> None:
    _fill(place, draw, cat=4, dog=4)
    frozen = _freeze(place)
    assert _freeze(place, "dog", "cat") == frozen
    place.check()
    assert _freeze(place).hash == frozen.hash
    assert _freeze(place, validation=0.5).hash != frozen.hash
    place.put("cat/new.jpg", draw(50))
    place.sync()
    assert _freeze(place).hash == frozen.hash  # not checked yet
    place.check()
    assert _freeze(place).hash != frozen.hash


def test_a_snapshot_is_stored_and_read_back(place: Place, draw: Draw, store: ObjectStore) -> None:
    _fill(place, draw, cat=3, dog=3)
    frozen = _freeze(place)
    for _ in range(2):
        snapshot.save(store, BUCKET, frozen)
    assert snapshot.load(store, BUCKET, frozen.hash) == frozen
    info = store.stat(BUCKET, f"snapshots/{frozen.hash}.jsonl.gz")
    snapshot.save(store, BUCKET, frozen)
    assert info is not None
    again = store.stat(BUCKET, info.key)
    assert again is not None
    assert again.etag == info.etag


def test_a_snapshot_that_was_changed_is_refused(place: Place, draw: Draw, store: ObjectStore) -> None:
    _fill(place, draw, cat=3, dog=3)
    frozen = _freeze(place)
    key = snapshot.key_of(frozen.hash)
    for data in (gzip.compress(frozen.data.replace(b'"cat"', b'"dog"')), b"garbage", b""):
        store.put_bytes(BUCKET, key, data)
        with pytest.raises(ObjectMissing, match="damaged"):
            snapshot.load(store, BUCKET, frozen.hash)
    store.delete(BUCKET, [key])
    with pytest.raises(ObjectMissing):
        snapshot.load(store, BUCKET, frozen.hash)


def test_a_key_with_line_breaks_survives(place: Place, draw: Draw, store: ObjectStore) -> None:
    for number in range(2):
        place.put(f"cat/{number}\n\u2028.jpg", draw(number))
        place.put(f"dog/é {number}.jpg", draw(number + 10))
    place.sync()
    place.check()
    frozen = _freeze(place)
    snapshot.save(store, BUCKET, frozen)
    assert snapshot.load(store, BUCKET, frozen.hash).examples == frozen.examples


def test_copies_stand_on_one_side(place: Place, draw: Draw) -> None:
    _fill(place, draw, cat=8, dog=8)
    for number in range(8):
        place.put(f"cat/copy{number}.jpg", draw(number + 1))
    place.sync()
    place.check()
    sides: dict[str, set[str]] = {}
    for example in _freeze(place, validation=0.4).examples:
        sides.setdefault(example.content_hash, set()).add(example.split)
    assert all(len(found) == 1 for found in sides.values())


def test_a_dataset_never_synced_or_checked_is_refused(place: Place, draw: Draw) -> None:
    with pytest.raises(NotEnoughData, match="datasets sync parts"):
        _freeze(place)
    place.put("cat/1.jpg", draw(1))
    place.sync()
    with pytest.raises(NotEnoughData, match="datasets check parts"):
        _freeze(place)


def test_an_empty_dataset_is_refused(place: Place) -> None:
    place.sync()
    place.check()
    with pytest.raises(NotEnoughData, match="has no images"):
        _freeze(place)


def test_a_dataset_with_nothing_usable_is_refused(place: Place) -> None:
    for name in ("cat/1.jpg", "dog/1.jpg"):
        place.put(name, b"broken")
    place.sync()
    place.check()
    with pytest.raises(NotEnoughData, match="none of the 2 images"):
        _freeze(place)


def test_labels_are_refused_with_their_names(place: Place, draw: Draw) -> None:
    _fill(place, draw, cat=3, dog=3, fox=1)
    with pytest.raises(NotEnoughData, match=r"labelled 'cow'; its labels are 'cat', 'dog', 'fox'"):
        _freeze(place, "cat", "cow")
    with pytest.raises(NotEnoughData, match=r"two labels or more; dataset 'parts' gives 'cat'"):
        _freeze(place, "cat")
    with pytest.raises(NotEnoughData, match=r"2 usable images or more.*'fox' has fewer"):
        _freeze(place)
    assert len(_freeze(place, "cat", "dog").examples) == 6


def test_unlabelled_images_alone_are_refused(place: Place, draw: Draw) -> None:
    place.put("1.jpg", draw(1))
    place.sync()
    place.check()
    with pytest.raises(NotEnoughData, match="gives none"):
        _freeze(place)


def test_deleted_and_changed_images_are_left_out(place: Place, draw: Draw) -> None:
    _fill(place, draw, cat=4, dog=4)
    place.drop("cat/0.jpg")
    place.put("dog/0.jpg", draw(77))
    place.sync()
    names = [e.key.removeprefix(place.prefix) for e in _freeze(place).examples]
    assert names == ["cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "dog/1.jpg", "dog/2.jpg", "dog/3.jpg"]


def test_senseless_shares_are_refused(place: Place, draw: Draw) -> None:
    _fill(place, draw, cat=2, dog=2)
    with pytest.raises(InvalidRequest):
        _freeze(place, validation=2.0)


def test_the_dataset_object_of_the_caller_may_be_stale(place: Place, draw: Draw) -> None:
    assert place.dataset.synced_at is None
    with transaction(place.sessions) as session:
        session.execute(update(Dataset).values(synced_at=now(), checked_at=now()))
        for number in range(4):
            session.add(
                Image(
                    dataset_id=place.dataset.id,
                    key=f"{number}",
                    etag="e",
                    checked_etag="e",
                    size=1,
                    label="ab"[number % 2],
                    usable=True,
                    content_hash=f"{number:064x}",
                    perceptual_hash=f"{number:064x}",
                )
            )
    assert len(_freeze(place).examples) == 4
