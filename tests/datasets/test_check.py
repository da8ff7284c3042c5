"""The check against a real store: what it finds, what stays usable, and that counts add up."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image as PillowImage
from PIL import ImageEnhance
from sqlalchemy import update

from backend.datasets import findings
from backend.datasets.tables import Image
from backend.db import transaction
from backend.errors import StorageDenied, StorageUnreachable
from backend.storage import ObjectStore, StoreAddress
from tests.datasets.conftest import BUCKET, Draw, Place

OF_CLASSES = ("few_images", "single_class", "no_labels", "unlabelled", "imbalance")


def _about_images(place: Place) -> list[tuple[str, str]]:
    return [found for found in place.findings("check") if found[0] not in OF_CLASSES]


def test_a_good_image_is_usable_and_measured(place: Place, draw: Draw) -> None:
    place.put("cat/1.jpg", draw(1))
    place.put("cat/2.png", draw(2, "PNG"))
    place.sync()
    counts = place.check()
    assert (counts["checked"], counts["images"], counts["usable"], counts["errors"]) == (2, 2, 2, 1)
    assert place.findings("check") == [("few_images", ""), ("single_class", "")]
    row = place.images()["cat/1.jpg"]
    assert (row.usable, row.width, row.height, row.checked_etag) == (True, 64, 48, row.etag)
    assert row.content_hash is not None
    assert row.perceptual_hash is not None
    assert len(row.content_hash) == len(row.perceptual_hash) == 64


def _rotated(draw: Draw) -> bytes:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    return draw(10, exif=exif)


def _animated(draw: Draw) -> bytes:
    frames = [PillowImage.open(BytesIO(draw(seed))) for seed in (11, 12)]
    buffer = BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def test_every_defect_has_its_finding(place: Place, draw: Draw) -> None:
    jpeg = draw(1)
    images = {
        "empty.jpg": b"",
        "text.jpg": b"not an image at all",
        "gif.jpg": draw(2, "GIF"),
        "tiff.png": draw(3, "TIFF"),
        "cut.jpg": jpeg[: len(jpeg) * 9 // 10],
        "cut.png": draw(4, "PNG")[:-500],
        "damaged.png": draw(5, "PNG")[:60] + b"\0" * 500,
        "bitmap.bmp": draw(6, "BMP"),
        "web.webp": draw(7, "WEBP"),
        "really.jpg": draw(8, "PNG"),
        "tiny.png": draw(9, "PNG", size=(20, 32)),
        "turned.jpg": _rotated(draw),
        "moving.png": _animated(draw),
        "good.jpg": draw(13),
    }
    for name, data in images.items():
        place.put(name, data)
    place.sync()
    counts = place.check()
    assert _about_images(place) == [
        ("animated", "moving.png"),
        ("empty_file", "empty.jpg"),
        ("format_not_supported", "gif.jpg"),
        ("format_not_supported", "text.jpg"),
        ("format_not_supported", "tiff.png"),
        ("format_only_predicts", "bitmap.bmp"),
        ("format_only_predicts", "web.webp"),
        ("rotated", "turned.jpg"),
        ("too_small", "tiny.png"),
        ("truncated", "cut.jpg"),
        ("truncated", "cut.png"),
        ("unreadable", "damaged.png"),
        ("wrong_extension", "really.jpg"),
    ]
    usable = {name for name, row in place.images().items() if row.usable}
    assert usable == {"really.jpg", "tiny.png", "turned.jpg", "moving.png", "good.jpg"}
    assert (counts["images"], counts["usable"], counts["unusable"]) == (14, 5, 9)
    turned = place.images()["turned.jpg"]
    assert (turned.width, turned.height) == (48, 64)


def test_counts_in_are_counts_out_and_errors(place: Place, draw: Draw) -> None:
    for number in range(6):
        place.put(f"a/{number}.jpg", draw(number) if number % 2 else b"broken")
    place.sync()
    counts = place.check()
    errors = {key for code, key in place.findings() if findings.RULES[code].severity == "error" and key}
    assert counts["images"] == counts["usable"] + len(errors) == 6


def test_limits_come_from_the_settings(place: Place, draw: Draw) -> None:
    place.put("a/bytes.png", draw(1, "PNG", size=(200, 200)))
    place.put("a/pixels.jpg", draw(2, size=(90, 90)))
    place.sync()
    place.check(max_image_bytes=5000, max_image_pixels=8000)
    assert _about_images(place) == [("too_many_bytes", "a/bytes.png"), ("too_many_pixels", "a/pixels.jpg")]


def test_only_what_is_new_is_read_again(place: Place, draw: Draw) -> None:
    for number in range(5):
        place.put(f"a/{number}.jpg", draw(number))
    place.sync()
    assert place.check()["checked"] == 5
    assert place.check()["checked"] == 0
    place.put("a/0.jpg", b"broken now")
    place.put("a/9.jpg", draw(9))
    place.sync()
    assert place.check()["checked"] == 2
    assert _about_images(place) == [("format_not_supported", "a/0.jpg")]
    place.put("a/0.jpg", draw(0))
    place.sync()
    place.check()
    assert _about_images(place) == []


def test_images_that_vanish_or_change_meanwhile_are_findings(place: Place, draw: Draw) -> None:
    for number in range(4):
        place.put(f"a/{number}.png", draw(number, "PNG"))
    place.sync()
    place.drop("a/1.png")
    place.put("a/2.png", draw(22, "PNG", size=(99, 99)))
    same_size = bytearray(draw(3, "PNG"))
    same_size[-1] ^= 1
    place.put("a/3.png", bytes(same_size))
    assert place.check()["usable"] == 1
    assert _about_images(place) == [("changed", "a/2.png"), ("changed", "a/3.png"), ("vanished", "a/1.png")]
    place.sync()
    place.check()
    assert [code for code, _ in _about_images(place)] == []


def test_an_image_changed_by_a_sync_during_the_check_is_not_marked(place: Place, draw: Draw) -> None:
    place.put("a/1.jpg", draw(1))
    place.sync()

    class Racing(ObjectStore):
        def read_version(self, bucket: str, key: str, limit: int) -> tuple[bytes, str]:
            answer = super().read_version(bucket, key, limit)
            with transaction(place.sessions) as session:
                session.execute(update(Image).values(etag="newer"))
            return answer

    place.store = Racing(place.store.address)
    place.check()
    row = place.images()["a/1.jpg"]
    assert (row.usable, row.checked_etag) == (False, None)
    place.store.close()


def test_a_store_that_is_down_ends_the_check(place: Place, draw: Draw) -> None:
    place.put("a/1.jpg", draw(1))
    place.sync()
    place.store = ObjectStore(StoreAddress("http://127.0.0.1:1", "a", "s" * 8))
    with pytest.raises(StorageUnreachable):
        place.check()


class Denying(ObjectStore):
    denied = "/a/"  # with its slash: the prefix before it is random and may end in an a

    def read_version(self, bucket: str, key: str, limit: int) -> tuple[bytes, str]:
        if self.denied in key:
            raise StorageDenied("access denied")
        return super().read_version(bucket, key, limit)


def test_an_object_that_may_not_be_read_is_a_finding_and_tried_again(place: Place, draw: Draw) -> None:
    place.put("a/1.jpg", draw(1))
    place.put("b/2.jpg", draw(2))
    place.sync()
    good, place.store = place.store, Denying(place.store.address)
    place.check()
    assert _about_images(place) == [("not_readable", "a/1.jpg")]
    place.store.close()
    place.store = good
    assert place.check()["checked"] == 1
    assert _about_images(place) == []


def test_one_object_that_may_never_be_read_does_not_fail_the_next_checks(place: Place, draw: Draw) -> None:
    place.put("a/1.jpg", draw(1))
    place.put("b/2.jpg", draw(2))
    place.sync()
    place.store = Denying(place.store.address)
    for _ in range(2):
        place.check()
        assert _about_images(place) == [("not_readable", "a/1.jpg")]
    place.store.close()


def test_when_nothing_may_be_read_the_check_fails(place: Place, draw: Draw) -> None:
    place.put("a/1.jpg", draw(1))
    place.sync()
    place.store = Denying(place.store.address)
    with pytest.raises(StorageDenied, match="read none"):
        place.check()
    place.store.close()


def test_progress_is_told_and_may_end_the_check(place: Place, draw: Draw) -> None:
    from backend.datasets import check
    from backend.settings import Settings

    for number in range(70):
        place.put(f"a/{number}.jpg", draw(number))
    place.sync()
    told: list[tuple[int, int]] = []

    class Enough(Exception):
        pass

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 1:
            raise Enough

    with pytest.raises(Enough):
        check.check(place.sessions, place.store, place.dataset, settings=Settings(), progress=progress)
    check.check(place.sessions, place.store, place.dataset, settings=Settings(), progress=progress)
    assert told == [(64, 70), (6, 6)]
    assert all(row.usable for row in place.images().values())


def test_duplicates_are_named_within_and_across_classes(place: Place, draw: Draw) -> None:
    place.put("cat/1.png", draw(1, "PNG"))
    place.put("cat/copy.png", draw(1, "PNG"))
    place.put("cat/2.png", draw(2, "PNG"))
    place.put("dog/2.png", draw(2, "PNG"))
    place.put("dog/3.png", draw(3, "PNG"))
    place.sync()
    place.check()
    assert _about_images(place) == [
        ("duplicate", "cat/1.png"),
        ("duplicate", "cat/copy.png"),
        ("duplicate_other_label", "cat/2.png"),
        ("duplicate_other_label", "dog/2.png"),
    ]
    [first, second] = place.messages("duplicate_other_label")
    assert first == f"the same bytes as {place.prefix}cat/2.png, here labelled 'dog' and there 'cat'"
    assert second == f"the same bytes as {place.prefix}dog/2.png, here labelled 'cat' and there 'dog'"
    assert all(row.usable for row in place.images().values())
    place.drop("cat/copy.png", "dog/2.png")
    place.sync()
    place.check()
    assert _about_images(place) == []


def test_near_duplicates_are_named(place: Place, draw: Draw) -> None:
    original = PillowImage.open(BytesIO(draw(1, size=(320, 240))))
    for name, image, quality in (
        ("cat/1.jpg", original, 95),
        ("cat/again.jpg", original.resize((200, 150)), 50),
        ("dog/dark.jpg", ImageEnhance.Brightness(original).enhance(0.9), 80),
    ):
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        place.put(name, buffer.getvalue())
    place.put("cat/other.jpg", draw(2))
    place.sync()
    place.check()
    assert _about_images(place) == [
        ("near_duplicate_other_label", "cat/1.jpg"),
        ("near_duplicate_other_label", "cat/again.jpg"),
        ("near_duplicate_other_label", "dog/dark.jpg"),
    ]
    place.drop("dog/dark.jpg")
    place.sync()
    place.check()
    assert _about_images(place) == [("near_duplicate", "cat/1.jpg"), ("near_duplicate", "cat/again.jpg")]


def _give(place: Place, classes: dict[str, int]) -> None:
    """Rows as after a sync and check, without images."""
    with transaction(place.sessions) as session:
        number = 0
        for label, count in classes.items():
            for _ in range(count):
                number += 1
                session.add(
                    Image(
                        dataset_id=place.dataset.id,
                        key=f"{place.prefix}{label}/{number}.jpg",
                        etag="e",
                        checked_etag="e",
                        size=1,
                        label=label,
                        usable=True,
                        content_hash=f"{number:064x}",
                        perceptual_hash="0" * 64,
                    )
                )


@pytest.mark.parametrize(
    ("classes", "found"),
    [
        ({}, ["no_labels"]),
        ({"a": 25}, ["single_class"]),
        ({"a": 25, "b": 25}, []),
        ({"a": 25, "b": 19}, ["few_images"]),
        ({"a": 250, "b": 25}, []),
        ({"a": 251, "b": 25}, ["imbalance"]),
        ({"a:b": 20, 'say "x"': 20}, ["class_name_odd", "class_name_odd"]),
        ({"NUL": 20, "con.txt": 20}, ["class_name_odd", "class_name_odd"]),
        ({" lead": 20, "trail.": 20}, ["class_name_odd", "class_name_odd"]),
        ({"c" * 101: 20, "ok": 20}, ["class_name_odd"]),
        ({"Größe 2": 20, "日本": 20}, []),
        ({"Cat": 20, "cat": 20, "c at": 20, "dog": 20}, ["class_names_alike"]),
        ({"train": 20, "val": 20}, ["split_folders"]),
        ({"train": 20, "plane": 20}, []),
    ],
)
def test_classes_are_looked_over(place: Place, classes: dict[str, int], found: list[str]) -> None:
    _give(place, classes)
    place.check()
    assert [code for code, _ in place.findings("check")] == found


def test_unlabelled_images_are_counted(place: Place) -> None:
    _give(place, {"a": 20, "b": 20})
    with transaction(place.sessions) as session:
        session.add(Image(dataset_id=place.dataset.id, key="x", etag="e", checked_etag="e", size=1))
    place.check()
    assert place.messages("unlabelled") == ["1 images have no label"]


def test_classes_mean_nothing_for_other_types(place: Place) -> None:
    place.dataset.type = "ocr"
    _give(place, {"a": 3})
    place.check()
    assert place.findings("check") == []


def test_every_rule_is_complete() -> None:
    for code, rule in findings.RULES.items():
        assert code == code.lower()
        assert len(code) <= 40
        assert rule.severity in ("error", "warning", "note")
        assert rule.title
        assert not rule.title.endswith(".")
        assert rule.advice
        assert rule.advice[0].islower() or rule.advice.startswith("BMP")


def test_the_bucket_of_these_tests_is_real(store: ObjectStore) -> None:
    assert store.bucket_exists(BUCKET)
