"""`sightloop upload` against the store of a real stack."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.storage import ObjectStore, StoreAddress
from tests.cli.program import Stack

ODD = [
    "a b.jpg",
    "ü/é.png",
    "plus+and&.jpg",
    "100%.jpg",
    "q?x=1#y.jpg",
    "日本/写真.jpg",
    "🙂.jpg",
]


@pytest.fixture(scope="module")
def store(stack: Stack) -> Iterator[ObjectStore]:
    """The stack's own store."""
    s3 = stack.json("up")["s3"]
    store = ObjectStore(StoreAddress(s3["endpoint"], s3["access_key"], s3["secret_key"]))
    yield store
    store.close()


def _write(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"content of {name}".encode())
    return folder


def test_a_folder_arrives_whole_and_makes_its_bucket(
    stack: Stack, store: ObjectStore, tmp_path: Path
) -> None:
    _write(tmp_path, "ant/1.jpg", "ant/2.jpg", "bee/1.png", "labels.csv", *ODD)
    made = stack.json("upload", str(tmp_path), "s3://whole/some/prefix/")
    assert (made["state"], made["uploaded"], made["skipped"], made["failed"]) == (
        "succeeded",
        4 + len(ODD),
        0,
        0,
    )
    assert made["created_bucket"] is True
    keys = {info.key: info for info in store.list("whole", "")}
    expected = {f"some/prefix/{path.relative_to(tmp_path)}" for path in tmp_path.rglob("*") if path.is_file()}
    assert set(keys) == expected
    for name in ("ant/1.jpg", *ODD):
        assert store.read("whole", f"some/prefix/{name}", 1000) == f"content of {name}".encode()


def test_the_second_time_only_what_changed_is_sent(stack: Stack, store: ObjectStore, tmp_path: Path) -> None:
    _write(tmp_path, *(f"{number:03}.jpg" for number in range(30)))
    stack.run("upload", str(tmp_path), "s3://again/p")
    assert stack.json("upload", str(tmp_path), "s3://again/p")["skipped"] == 30
    (tmp_path / "007.jpg").write_bytes(b"another")
    _write(tmp_path, "new.jpg")
    said = stack.run("upload", str(tmp_path), "s3://again/p")
    assert "2 uploaded" in said and "29 there already, 0 failed" in said
    assert store.read("again", "p/007.jpg", 100) == b"another"


def test_more_files_than_one_request_takes(stack: Stack, tmp_path: Path) -> None:
    _write(tmp_path, *(f"{number:04}.jpg" for number in range(1201)))
    assert stack.json("upload", str(tmp_path), "s3://many/p")["uploaded"] == 1201
    assert stack.json("upload", str(tmp_path), "s3://many/p")["skipped"] == 1201


def test_hidden_files_and_what_desktops_leave_behind_stay(
    stack: Stack, store: ObjectStore, tmp_path: Path
) -> None:
    left = (
        ".DS_Store",
        "a/.DS_Store",
        "a/Thumbs.db",
        "desktop.ini",
        ".git/config",
        "__MACOSX/a/._1.jpg",
        "._2.jpg",
    )
    _write(tmp_path, "a/1.jpg", *left)
    assert stack.json("upload", str(tmp_path), "s3://clean")["uploaded"] == 1
    assert [info.key for info in store.list("clean", "")] == ["a/1.jpg"]


def test_links_are_followed_once(stack: Stack, store: ObjectStore, tmp_path: Path) -> None:
    outside = _write(tmp_path / "outside", "x.jpg")
    folder = _write(tmp_path / "folder", "a/1.jpg")
    (folder / "linked.jpg").symlink_to(outside / "x.jpg")
    (folder / "more").symlink_to(outside)
    (folder / "a" / "circle").symlink_to(folder)
    assert stack.json("upload", str(folder), "s3://links")["failed"] == 0
    assert {info.key for info in store.list("links", "")} == {"a/1.jpg", "linked.jpg", "more/x.jpg"}


def test_what_cannot_be_sent_is_counted_and_stops_nothing_else(
    stack: Stack, store: ObjectStore, tmp_path: Path
) -> None:
    _write(tmp_path, "good.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "two\nlines.jpg").write_bytes(b"x")
    (tmp_path / "back\\slash.jpg").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.jpg")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(b"x")
    done = json.loads(stack_output(stack, tmp_path))
    assert (done["state"], done["uploaded"], done["failed"]) == ("failed", 1, 5)
    reasons = " ".join(failure["reason"] for failure in done["failures"])
    for part in ("a link to nothing", "control character", "no regular file", "backslash", "not valid UTF-8"):
        assert part in reasons
    assert [info.key for info in store.list("partly", "")] == ["good.jpg"]
    assert "5 of 6 files were not uploaded" in stack.run("upload", str(tmp_path), "s3://partly", code=1)


def stack_output(stack: Stack, folder: Path) -> str:
    """What is printed although the exit code is 1."""
    from tests.cli.program import sightloop

    done = sightloop("--data-dir", str(stack.data_dir), "upload", str(folder), "s3://partly", "--json")
    assert done.returncode == 1 and json.loads(done.stderr)["error"]["code"] == "operation_failed"
    return done.stdout


def test_an_empty_folder_is_refused(stack: Stack, tmp_path: Path) -> None:
    assert "holds no files" in stack.run("upload", str(tmp_path), "s3://empty", code=1)


@pytest.mark.parametrize("place", ["photos", "http://bucket/x", "s3://", "s3:///x"])
def test_a_place_that_is_none_is_wrong_usage(stack: Stack, tmp_path: Path, place: str) -> None:
    assert "s3://BUCKET/PREFIX" in stack.run("upload", str(_write(tmp_path, "1.jpg")), place, code=2)


def test_a_bucket_name_that_s3_refuses_is_said_once(stack: Stack, tmp_path: Path) -> None:
    said = stack.run("upload", str(_write(tmp_path, "1.jpg")), "s3://No_Bucket/x", code=1)
    assert said.startswith("Error: ") and said.count("\n") == 1


def test_an_unknown_connection_is_refused(stack: Stack, tmp_path: Path) -> None:
    _write(tmp_path, "1.jpg")
    said = stack.run("upload", str(tmp_path), "s3://x", "--connection", "nowhere", "--json", code=1)
    assert json.loads(said)["error"]["code"] == "not_found"
