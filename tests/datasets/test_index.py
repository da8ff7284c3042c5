"""Sync against a real store: what enters the index, what leaves it, and what happens to a run that dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select, update

from backend.datasets import index, operations, renaming
from backend.datasets.listing import SAMPLES
from backend.datasets.seen import Seen
from backend.datasets.tables import Dataset, Finding, Image, Operation
from backend.db import transaction
from backend.errors import BucketMissing, StorageUnreachable
from backend.storage import ObjectInfo, ObjectStore, StoreAddress
from tests.datasets.conftest import Place
from tests.servers import fault_proxy


def test_images_enter_the_index_with_the_label_of_their_folder(place: Place) -> None:
    for name in ("cat/1.jpg", "cat/deep/2.PNG", "dog/3.jpeg", "4.webp", "5.bmp"):
        place.put(name)
    assert place.sync() == {"listed": 5, "images": 5, "added": 5}
    labels = {name: (row.label, row.label_source) for name, row in place.images().items()}
    assert labels == {
        "cat/1.jpg": ("cat", "folder"),
        "cat/deep/2.PNG": ("cat", "folder"),
        "dog/3.jpeg": ("dog", "folder"),
        "4.webp": (None, None),
        "5.bmp": (None, None),
    }
    with place.sessions() as session:
        assert session.get_one(Dataset, place.dataset.id).synced_at is not None


def test_a_second_sync_changes_nothing(place: Place) -> None:
    place.put("cat/1.jpg")
    place.sync()
    before = {name: row.indexed_at for name, row in place.images().items()}
    assert place.sync() == {"listed": 1, "images": 1, "unchanged": 1}
    assert {name: row.indexed_at for name, row in place.images().items()} == before


def test_only_what_is_below_the_prefix_counts(place: Place, store: ObjectStore) -> None:
    place.put("cat/1.jpg")
    store.put_bytes(place.dataset.bucket, place.prefix[:-1] + "-other/cat/2.jpg", b"x")
    assert place.sync()["listed"] == 1


def test_a_changed_object_loses_what_the_check_found(place: Place) -> None:
    place.put("cat/1.jpg")
    place.sync()
    with transaction(place.sessions) as session:
        session.execute(update(Image).values(checked_etag=Image.etag, usable=True, width=9, content_hash="c"))
        session.add(_finding(place, "rotated", "cat/1.jpg"))
    place.put("cat/1.jpg", b"another")
    assert place.sync() == {"listed": 1, "images": 1, "changed": 1}
    row = place.images()["cat/1.jpg"]
    assert (row.size, row.checked_etag, row.usable, row.width, row.content_hash) == (
        7,
        None,
        False,
        None,
        None,
    )
    assert place.findings("check") == []


def _finding(place: Place, code: str, name: str) -> Finding:
    return Finding(
        dataset_id=place.dataset.id,
        source="check",
        code=code,
        severity="note",
        key=place.prefix + name,
        message="m",
        advice="a",
    )


def test_a_deleted_object_stays_as_a_tombstone_and_comes_back(place: Place) -> None:
    for name in ("cat/1.jpg", "cat/2.jpg", "dog/3.jpg"):
        place.put(name)
    place.sync()
    place.drop("cat/2.jpg")
    assert place.sync() == {"listed": 2, "images": 2, "unchanged": 2, "deleted": 1}
    gone = place.images()["cat/2.jpg"]
    assert (gone.state, gone.label, gone.usable) == ("deleted", "cat", False)
    assert place.sync() == {"listed": 2, "images": 2, "unchanged": 2}
    place.put("cat/2.jpg")
    assert place.sync() == {"listed": 3, "images": 3, "unchanged": 2, "restored": 1}
    assert place.images()["cat/2.jpg"].state == "present"


def test_a_label_given_by_hand_is_stronger_than_the_folder(place: Place) -> None:
    place.put("cat/1.jpg")
    place.put("cat/2.jpg")
    place.sync()
    with transaction(place.sessions) as session:
        by_hand = update(Image).where(Image.key.endswith("1.jpg"))
        session.execute(by_hand.values(label="dog", label_source="label_studio"))
        session.execute(update(Image).where(Image.key.endswith("2.jpg")).values(label="stale"))
    assert place.sync() == {"listed": 2, "images": 2, "unchanged": 2, "relabelled": 1}
    assert {name: row.label for name, row in place.images().items()} == {
        "cat/1.jpg": "dog",
        "cat/2.jpg": "cat",
    }


def test_an_image_labelled_by_hand_keeps_its_label_when_it_is_renamed(place: Place) -> None:
    place.put("1.jpg", b"the same bytes")
    place.put("2.jpg", b"other bytes")
    place.sync()
    with transaction(place.sessions) as session:
        session.execute(update(Image).values(label="dog", label_source="label_studio"))
    place.drop("1.jpg", "2.jpg")
    place.put("renamed.jpg", b"the same bytes")
    place.put("new.jpg", b"new bytes")
    place.sync()
    images = place.images()
    assert (images["renamed.jpg"].label, images["renamed.jpg"].label_source) == ("dog", "label_studio")
    assert images["new.jpg"].label is None


def test_a_correction_by_hand_outlives_a_new_name_in_the_same_class_folder(place: Place) -> None:
    """A move to the folder of another class is the newer word."""
    for name in ("renamed", "deeper", "moved"):
        place.put(f"nut/{name}.jpg", name.encode())
    place.put("nut/copy.jpg", b"renamed")  # was there before, and keeps what its folder says
    place.sync()
    with transaction(place.sessions) as session:
        corrected = update(Image).where(~Image.key.endswith("copy.jpg"))
        session.execute(corrected.values(label="bolt", label_source="label_studio", skipped=True))
    place.drop("nut/renamed.jpg", "nut/deeper.jpg", "nut/moved.jpg")
    place.put("nut/one.jpg", b"renamed")
    place.put("nut/monday/two.jpg", b"deeper")
    place.put("screw/three.jpg", b"moved")
    place.sync()
    images = place.images()
    present = {name: row for name, row in images.items() if row.state == "present"}
    labels = {name: (row.label, row.label_source, row.skipped) for name, row in present.items()}
    assert labels == {
        "nut/copy.jpg": ("nut", "folder", False),
        "nut/one.jpg": ("bolt", "label_studio", True),
        "nut/monday/two.jpg": ("bolt", "label_studio", True),
        "screw/three.jpg": ("screw", "folder", False),
    }
    with transaction(place.sessions) as session:  # taken back in Label Studio: the next sync leaves it so
        back = update(Image).where(Image.key.endswith("one.jpg"))
        session.execute(back.values(label="nut", label_source="folder", skipped=False))
    place.sync()
    assert place.images()["nut/one.jpg"].label == "nut"


def test_more_renamed_images_than_one_batch_keep_their_labels(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "BATCH", 4)
    for number in range(7):
        place.put(f"{number}.jpg", b"image %d" % number)
    place.sync()
    with transaction(place.sessions) as session:
        for name, image in place.images().items():
            row = session.merge(image)
            row.label, row.label_source = f"class {name}", "label_studio"
    place.drop(*(f"{number}.jpg" for number in range(7)))
    for number in range(7):
        place.put(f"new {number}.jpg", b"image %d" % number)
    place.sync()
    images = place.images()
    assert [images[f"new {number}.jpg"].label for number in range(7)] == [
        f"class {number}.jpg" for number in range(7)
    ]


def test_a_label_given_while_a_sync_looks_for_renamed_images_stays(place: Place) -> None:
    place.put("1.jpg", b"the same bytes")
    place.sync()
    with transaction(place.sessions) as session:
        session.execute(update(Image).values(label="dog", label_source="label_studio"))
        new = Image(dataset_id=place.dataset.id, key="new", etag=place.images()["1.jpg"].etag, size=14)
        session.add(new)
        session.execute(update(Image).where(Image.key != "new").values(state="deleted"))
    with place.sessions() as session:
        found = renaming.pairs(session, place.dataset, 0)
    assert len(found) == 1
    with transaction(place.sessions) as session:
        session.execute(update(Image).where(Image.key == "new").values(label="cat", label_source="csv"))
        renaming.carry(session, found)
    with place.sessions() as session:
        assert session.get_one(Image, new.id).label == "cat"
        assert renaming.pairs(session, place.dataset, 0) == []


def test_what_is_no_image_is_counted_and_named(place: Place) -> None:
    for name in (
        "cat/1.jpg",
        "cat/notes.txt",
        "cat/x.gif",
        "y.tiff",
        "cat/._1.jpg",
        "__MACOSX/cat/1.jpg",
        "z",
    ):
        place.put(name)
    place.put("cat/", b"")
    place.put("marker_$folder$", b"")
    assert place.sync() == {
        "listed": 9,
        "images": 1,
        "added": 1,
        "folder": 2,
        "not_an_image": 4,
        "format_not_supported": 2,
    }
    assert place.findings() == [
        ("format_not_supported", "cat/x.gif"),
        ("format_not_supported", "y.tiff"),
        ("not_an_image", "__MACOSX/cat/1.jpg"),
        ("not_an_image", "cat/._1.jpg"),
        ("not_an_image", "cat/notes.txt"),
        ("not_an_image", "z"),
    ]


def test_many_such_objects_do_not_flood_the_findings(place: Place) -> None:
    place.put("cat/1.jpg")
    for number in range(SAMPLES + 5):
        place.put(f"cat/{number}.txt")
    assert place.sync()["not_an_image"] == SAMPLES + 5
    assert len(place.findings()) == SAMPLES + 1
    assert "5 more objects like these 20 were left out" in place.messages("not_an_image")


def test_an_empty_prefix_is_said_to_be_empty(place: Place) -> None:
    assert place.sync() == {}
    assert place.messages("nothing_found") == [f"nothing under s3://datasets/{place.prefix}"]
    place.put("readme.txt")
    place.sync()
    assert place.messages("nothing_found") == [
        f"none of the 1 objects under s3://datasets/{place.prefix} is an image"
    ]
    place.put("cat/1.jpg")
    place.sync()
    assert place.messages("nothing_found") == []


@pytest.mark.parametrize(
    "name", ["é 日本 🙂.jpg", "a+b&c<d>'\".jpg", "%2F%20.jpg", "line\nbreak.jpg", "q?x=1#h.jpg"]
)
def test_odd_keys_are_indexed(place: Place, name: str) -> None:
    place.put(f"cat/{name}")
    assert place.sync() == {"listed": 1, "images": 1, "added": 1}
    assert place.sync() == {"listed": 1, "images": 1, "unchanged": 1}
    assert list(place.images()) == [f"cat/{name}"]


class Listed(ObjectStore):
    """A store whose listing is given."""

    def __init__(self, infos: list[ObjectInfo]) -> None:
        super().__init__(StoreAddress("http://127.0.0.1:1"))
        self.infos = infos

    def list(self, bucket: str, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        behind = [info.key for info in self.infos].index(start_after) + 1 if start_after else 0
        yield from self.infos[behind:]


def _infos(*keys: str) -> list[ObjectInfo]:
    return [ObjectInfo(key, "etag", 1, None) for key in keys]


def test_keys_that_cannot_be_read_are_findings(place: Place) -> None:
    place.store = Listed(_infos("cat/../1.jpg", "./2.jpg", "cat/\x00.jpg", "cat/3.jpg"))
    assert place.sync() == {"listed": 4, "images": 1, "added": 1, "odd_key": 3}
    assert place.findings() == [
        ("odd_key", "./2.jpg"),
        ("odd_key", "cat/../1.jpg"),
        ("odd_key", "cat/\\0.jpg"),
    ]


def test_the_order_of_the_listing_does_not_matter(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "BATCH", 3)
    place.store = Listed(_infos("b/9.jpg", "a/b.jpg", "a.jpg", "a/b/c.jpg", "Z.jpg", "a b.jpg", "0/1.jpg"))
    assert place.sync()["added"] == 7
    place.store = Listed(list(reversed(place.store.infos[1:])))
    assert place.sync() == {"listed": 6, "images": 6, "unchanged": 6, "deleted": 1}


def test_a_store_without_etags_is_told_by_time_and_size(place: Place) -> None:
    place.store = Listed([ObjectInfo("cat/1.jpg", "", 1, None)])
    place.sync()
    assert place.sync()["unchanged"] == 1
    place.store = Listed([ObjectInfo("cat/1.jpg", "", 2, None)])
    assert place.sync()["changed"] == 1


def test_a_missing_bucket_leaves_the_index_alone(place: Place) -> None:
    place.put("cat/1.jpg")
    place.sync()
    with transaction(place.sessions) as session:
        session.execute(update(Dataset).values(bucket="no-such-bucket"))
    place.dataset.bucket = "no-such-bucket"
    with pytest.raises(BucketMissing):
        place.sync()
    assert place.images()["cat/1.jpg"].state == "present"


class Killed(BaseException):
    """As if the process had died."""


def test_a_killed_run_goes_on_where_it_was(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "BATCH", 2)
    first = _infos("a/1.jpg", "a/2.jpg", "b/3.jpg", "c/4.jpg", "c/5.jpg", "x.txt")
    place.store = Listed(first)
    place.sync()
    second = [info for info in first if info.key not in ("a/2.jpg", "c/5.jpg")] + _infos("d/6.jpg", "y.txt")
    taken: list[str] = []

    def dying(bucket: str, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        for number, info in enumerate(second):
            if number == 4:
                raise Killed
            yield info

    def counting(bucket: str, prefix: str, start_after: str = "") -> Iterator[ObjectInfo]:
        for info in Listed(second).list(bucket, prefix, start_after):
            taken.append(info.key)
            yield info

    monkeypatch.setattr(place.store, "list", dying)
    operation = place.operation()
    with pytest.raises(Killed):
        index.sync(place.sessions, place.store, place.dataset, operation)
    with transaction(place.sessions) as session:
        session.execute(update(Operation).values(state="queued"))
        again = operations.claim(session, operation.id)
    assert again is not None
    assert (again.attempt, again.cursor, again.done) == (2, "c/4.jpg"[:0] + second[3].key, 4)
    monkeypatch.setattr(place.store, "list", counting)
    counts = index.sync(place.sessions, place.store, place.dataset, again)
    assert taken == ["d/6.jpg", "y.txt"]
    assert {name: number for name, number in counts.items() if number} == {
        "listed": 6,
        "images": 4,
        "unchanged": 3,
        "added": 1,
        "deleted": 2,
        "not_an_image": 2,
    }
    states = {key: row.state for key, row in place.images().items()}
    assert [key for key, state in states.items() if state == "deleted"] == ["a/2.jpg", "c/5.jpg"]
    assert place.findings() == [("not_an_image", "x.txt"), ("not_an_image", "y.txt")]


def test_a_late_run_is_refused_and_writes_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.store = Listed(_infos("a/1.jpg"))
    late = place.operation()
    with transaction(place.sessions) as session:
        session.execute(update(Operation).values(state="queued"))
        assert operations.claim(session, late.id) is not None
    with pytest.raises(operations.AttemptRefused):
        index.sync(place.sessions, place.store, place.dataset, late)
    assert place.images() == {}


def test_a_listing_that_breaks_off_deletes_nothing(place: Place, address: StoreAddress) -> None:
    place.put("cat/1.jpg")
    place.sync()
    with fault_proxy(address) as proxy:
        place.store = ObjectStore(proxy.address(address), read_timeout=10)
        proxy.cut_after = 300
        operation = place.operation()
        with pytest.raises(StorageUnreachable):
            index.sync(place.sessions, place.store, place.dataset, operation)
        place.store.close()
    assert place.images()["cat/1.jpg"].state == "present"


def test_datasets_do_not_touch_each_other(place: Place) -> None:
    with transaction(place.sessions) as session:
        other = Dataset(
            workspace_id=place.dataset.workspace_id,
            connection_id=place.dataset.connection_id,
            name="other",
            type="classification",
            bucket="datasets",
            prefix="elsewhere/",
        )
        session.add(other)
        session.flush()
        session.add(Image(dataset_id=other.id, key="elsewhere/1.jpg", etag="e", size=1))
    place.put("cat/1.jpg")
    place.sync()
    place.drop("cat/1.jpg")
    assert place.sync() == {"deleted": 1}
    with place.sessions() as session:
        row = session.scalars(select(Image).where(Image.dataset_id == other.id)).one()
    assert row.state == "present"


def test_the_ids_that_were_seen_survive_their_travel() -> None:
    seen = Seen(100, 5000)
    for image_id in (100, 101, 4999, 5000, 99, 5001):
        seen.add(image_id)
    again = Seen.load(seen.dump())
    assert [number for number in range(90, 5010) if number in again] == [100, 101, 4999, 5000]
    assert len(Seen(1, 0).dump()) < 30
