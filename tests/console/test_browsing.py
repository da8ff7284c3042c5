"""Looking for a folder in a real store, and the thumbnails of what lies there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image as PillowImage
from sqlalchemy import select

from backend.datasets.tables import Dataset, Image
from backend.datasets.thumbnails import Cache
from backend.db import transaction
from backend.runtime import Runtime
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.tables import StorageConnection
from tests import servers
from tests.api.conftest import Caller
from tests.console.conftest import MARKUP, furnish, sign_in

BUCKET = "browsing"


def picture(width: int, height: int, colour: str = "teal") -> bytes:
    buffer = BytesIO()
    PillowImage.new("RGB", (width, height), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def address_of_store() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture(scope="module")
def store(address_of_store: StoreAddress) -> Iterator[ObjectStore]:
    """A bucket with two classes, an odd name, and a folder of more names than one step lists."""
    made = ObjectStore(address_of_store)
    made.ensure_bucket(BUCKET)
    for name in ("bolt/1.jpg", "bolt/2.jpg", "nut/1.jpg", f"nut/{MARKUP}.jpg"):
        made.put_bytes(BUCKET, f"parts/{name}", picture(640, 320))
    made.put_bytes(BUCKET, "parts/broken.jpg", b"\xff\xd8\xff and no more")
    made.put_bytes(BUCKET, "parts/notes.txt", b"hello")
    for number in range(1100):
        made.put_bytes(BUCKET, f"many/{number:04}/x.jpg", b"")
    yield made
    made.close()


@pytest.fixture
def browsing(app: Flask, member: FlaskClient, store: ObjectStore) -> FlaskClient:
    """A member of a workspace that has a connection to that store, and a dataset of its `parts/`."""
    furnish(app)
    runtime: Runtime = app.extensions["sightloop"]
    with transaction(runtime.sessions) as session:
        row = session.scalars(select(StorageConnection).where(StorageConnection.name == "store")).one()
        row.endpoint, row.access_key = store.address.endpoint, store.address.access_key
        row.secret_encrypted = runtime.sealer.seal(store.address.secret_key)
        dataset = session.scalars(select(Dataset)).one()
        dataset.bucket, dataset.prefix = BUCKET, "parts/"
        images = session.scalars(select(Image).limit(3))
        for image, key in zip(images, ("bolt/1.jpg", "broken.jpg", "gone.jpg"), strict=True):
            image.key = f"parts/{key}"
    return member


def _look(client: FlaskClient, part: str, path: str = "", connection: str = "store") -> str:
    response = client.get(f"/new/dataset/{part}", query_string={"connection": connection, "path": path})
    assert response.status_code == 200
    return response.text


def test_one_goes_from_the_buckets_to_a_folder(browsing: FlaskClient) -> None:
    assert f"<bdi>{BUCKET}/</bdi>" in _look(browsing, "browse")
    page = _look(browsing, "browse", f"s3://{BUCKET}")
    assert "<bdi>parts/</bdi>" in page and "<bdi>many/</bdi>" in page
    page = _look(browsing, "browse", f"s3://{BUCKET}/parts/")
    assert "<bdi>bolt/</bdi>" in page and "Directly here: images 1, folders 2, other objects 1" in page
    assert 'aria-current="location"' in page


def test_the_images_below_are_counted_and_shown(browsing: FlaskClient) -> None:
    assert "images: 2" in _look(browsing, "count", f"s3://{BUCKET}/parts/nut/")
    page = _look(browsing, "seen", f"s3://{BUCKET}/parts")
    assert "With all folders below: images 5." in page and MARKUP not in page
    samples = [unescape(path) for path in re.findall(r'src="(/new/dataset/sample[^"]+)"', page)]
    assert len(samples) == 5
    kinds = [browsing.get(path).content_type for path in samples]
    assert kinds.count("image/webp") == 4 and sum("svg" in kind for kind in kinds) == 1, "one is broken"


def test_a_long_list_is_shown_in_steps(browsing: FlaskClient) -> None:
    page = _look(browsing, "browse", f"s3://{BUCKET}/many")
    assert page.count("<bdi>") == 1000 + 2 and "0999/</bdi>" in page and "1000/</bdi>" not in page
    [more] = re.findall(r'hx-get="(/new/dataset/more[^"]+)"', page)
    rest = browsing.get(unescape(more)).text
    assert rest.count("<bdi>") == 100 and "1099/</bdi>" in rest and "Show more" not in rest
    assert "images 1,000 among the first 1,000" in _look(browsing, "seen", f"s3://{BUCKET}/many")


@pytest.mark.parametrize(
    "path, connection, sentence",
    [
        ("s3://no-such-bucket/", "store", "there is no bucket"),
        ("/home", "store", "is no place in a bucket"),
        (f"s3://{BUCKET}/../x", "store", "cannot be a prefix"),
        ("", "nothing", "there is no storage connection"),
        ("", "default", "127.0.0.1:9 cannot be reached"),
    ],
)
@pytest.mark.parametrize("part", ["browse", "seen"])
def test_a_place_that_cannot_be_seen_says_why(
    browsing: FlaskClient, part: str, path: str, connection: str, sentence: str
) -> None:
    if part == "browse" or path:
        assert sentence in _look(browsing, part, path, connection)


def test_a_member_of_another_workspace_sees_no_store(
    app: Flask, browsing: FlaskClient, stranger: Caller
) -> None:
    with app.test_client() as client:
        sign_in(client, stranger.token)
        assert "there is no storage connection" in _look(client, "browse", f"s3://{BUCKET}")
        path = f"/new/dataset/sample?connection=store&path={quote(f's3://{BUCKET}/parts/bolt/1.jpg')}"
        assert "svg" in client.get(path).content_type


def _thumbnails(client: FlaskClient) -> list[str]:
    page = client.get("/datasets/parts").text
    return [unescape(path) for path in re.findall(r'src="(/thumbnails/[^"]+)"', page)]


def test_a_thumbnail_is_small_kept_and_not_sent_twice(
    app: Flask, browsing: FlaskClient, store: ObjectStore
) -> None:
    path = next(path for path in _thumbnails(browsing) if "webp" in browsing.get(path).content_type)
    answer = browsing.get(path)
    with PillowImage.open(BytesIO(answer.data)) as image:
        assert image.size == (240, 120)
    assert "max-age=86400" in answer.headers["Cache-Control"]
    again = browsing.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    folder: Path = app.extensions["sightloop"].settings.data_dir / "thumbnails"
    assert [one.read_bytes() for one in folder.glob("*/*")] == [answer.data]


def test_what_cannot_be_shown_has_a_neutral_picture(app: Flask, browsing: FlaskClient) -> None:
    answers = [browsing.get(path) for path in _thumbnails(browsing)]
    assert {answer.status_code for answer in answers} == {200}
    neutral = [answer for answer in answers if "svg" in answer.content_type]
    assert len(neutral) == 11 and "max-age=60" in neutral[0].headers["Cache-Control"]
    assert browsing.get("/thumbnails/forged").status_code == 404


def test_thumbnails_used_long_ago_make_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path, capacity=1000, trim_every=10)
    for number in range(10):
        cache.get(str(number), lambda: b"x" * 200)
    kept = sorted(path.stat().st_size for path in tmp_path.glob("*/*"))
    assert kept == [200] * 4
    made: list[str] = []

    def produce() -> bytes:
        made.append("again")
        return b"y"

    for number in range(10):
        cache.get(str(number), produce)
    assert len(made) == 6


def test_a_cache_that_cannot_be_written_still_answers(tmp_path: Path) -> None:
    (tmp_path / "thumbnails").write_text("a file where the folder should be")
    assert Cache(tmp_path / "thumbnails").get("key", lambda: b"data") == b"data"
