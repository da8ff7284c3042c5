"""The object store, against a real SeaweedFS, and against what can go wrong on the way to one."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import urllib3

from backend.errors import (
    AppError,
    BucketMissing,
    InvalidRequest,
    ObjectMissing,
    StorageDenied,
    StorageFull,
    StorageUnreachable,
    TooLarge,
)
from backend.names import check_name
from backend.storage import ObjectStore, StoreAddress
from backend.storepaths import check_bucket, parse_path
from tests import servers
from tests.servers import FaultProxy, fault_proxy

BUCKET = "storage-tests"


@pytest.fixture(scope="session")
def address() -> Iterator[StoreAddress]:
    yield from servers.object_store()


@pytest.fixture
def store(address: StoreAddress) -> Iterator[ObjectStore]:
    store = ObjectStore(address)
    store.ensure_bucket(BUCKET)
    yield store
    store.close()


@pytest.fixture
def prefix() -> str:
    return f"{uuid4().hex}/"


@pytest.fixture
def proxy(address: StoreAddress) -> Iterator[FaultProxy]:
    with fault_proxy(address) as proxy:
        yield proxy


@pytest.fixture
def hindered(proxy: FaultProxy, address: StoreAddress) -> Iterator[ObjectStore]:
    store = ObjectStore(proxy.address(address), connect_timeout=10, read_timeout=10)
    yield store
    store.close()


@pytest.fixture
def impatient(proxy: FaultProxy, address: StoreAddress) -> Iterator[ObjectStore]:
    store = ObjectStore(proxy.address(address), connect_timeout=10, read_timeout=0.5)
    yield store
    store.close()


def _answer(status: str, body: str = "", kind: str = "application/xml") -> bytes:
    head = (
        f"HTTP/1.1 {status}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


def _error(code: str) -> str:
    return (
        f"<Error><Code>{code}</Code><Message>m</Message><Resource>/b</Resource><RequestId>1</RequestId>"
        "<HostId>h</HostId></Error>"
    )


def test_what_is_put_is_read_back(store: ObjectStore, prefix: str) -> None:
    store.put_bytes(BUCKET, prefix + "a.jpg", b"hello")
    assert store.read(BUCKET, prefix + "a.jpg", limit=5) == b"hello"
    info = store.stat(BUCKET, prefix + "a.jpg")
    assert info is not None
    assert (info.key, info.size, info.etag) == (prefix + "a.jpg", 5, "5d41402abc4b2a76b9719d911017c592")
    assert store.read_version(BUCKET, prefix + "a.jpg", limit=5) == (b"hello", info.etag)


def test_an_empty_object_is_read_as_nothing(store: ObjectStore, prefix: str) -> None:
    store.put_bytes(BUCKET, prefix + "empty", b"")
    assert store.read(BUCKET, prefix + "empty", limit=0) == b""


def test_a_large_file_goes_up_in_parts_and_comes_down_whole(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 80_000
    (tmp_path / "up").write_bytes(data)
    store.put_file(BUCKET, prefix + "big", tmp_path / "up")
    store.download(BUCKET, prefix + "big", tmp_path / "deep" / "down")
    assert (tmp_path / "deep" / "down").read_bytes() == data
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["down"]


def test_two_downloads_of_one_file_do_not_disturb_each_other(
    store: ObjectStore, prefix: str, tmp_path: Path
) -> None:
    store.put_bytes(BUCKET, prefix + "x", b"x" * 100_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.download(BUCKET, prefix + "x", tmp_path / "x"), range(32)))
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"x" * 100_000


def test_more_than_the_limit_is_not_read(store: ObjectStore, prefix: str) -> None:
    store.put_bytes(BUCKET, prefix + "x", b"12345")
    with pytest.raises(TooLarge, match="at most 4 are read"):
        store.read(BUCKET, prefix + "x", limit=4)


def test_a_listing_is_streamed_over_its_pages(store: ObjectStore, prefix: str) -> None:
    keys = [f"{prefix}{number:04}.jpg" for number in range(1005)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.put_bytes(BUCKET, key, b"x"), keys))
    assert [info.key for info in store.list(BUCKET, prefix)] == keys
    assert [info.key for info in store.list(BUCKET, prefix, start_after=keys[1002])] == keys[1003:]
    store.delete(BUCKET, keys)
    assert list(store.list(BUCKET, prefix)) == []


def test_seaweedfs_lists_folder_by_folder_and_goes_on_in_that_order(store: ObjectStore, prefix: str) -> None:
    keys = [prefix + name for name in ("a.jpg", "a/b/c.jpg", "a/b.jpg", "a b.jpg", "a-b/x.jpg", "Z.jpg")]
    for key in keys:
        store.put_bytes(BUCKET, key, b"x")
    listed = [info.key for info in store.list(BUCKET, prefix)]
    assert listed == sorted(keys, key=lambda key: key.encode().replace(b"/", b"\0"))
    for number, key in enumerate(listed):
        assert [info.key for info in store.list(BUCKET, prefix, start_after=key)] == listed[number + 1 :]


@pytest.mark.parametrize(
    "name",
    [
        "é 日本 🙂.jpg",
        "a+b&c<d>'\".jpg",
        "%2F%20.jpg",
        "line\nbreak\t.jpg",
        "q?x=1#h.jpg",
        "..hidden..jpg",
        "e\u0301",
    ],
)
def test_odd_keys_survive(store: ObjectStore, prefix: str, name: str) -> None:
    store.put_bytes(BUCKET, prefix + name, b"x")
    assert [info.key for info in store.list(BUCKET, prefix)] == [prefix + name]
    assert store.read(BUCKET, prefix + name, limit=1) == b"x"
    assert [info.key for info in store.level(BUCKET, prefix).objects] == [prefix + name]
    store.put_bytes(BUCKET, f"{prefix}{name}/x", b"x")
    assert f"{prefix}{name}/" in store.level(BUCKET, prefix).folders


def test_a_folder_is_listed_in_parts_without_gap_or_copy(store: ObjectStore, prefix: str) -> None:
    names = [f"{number:04}{'/x' if number % 2 else '-x'}" for number in range(1500)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: store.put_bytes(BUCKET, prefix + name, b"x"), names))
    first = store.level(BUCKET, prefix)
    second = store.level(BUCKET, prefix, first.following)
    assert (len(first.folders) + len(first.objects), second.following) == (1000, "")
    assert len({*first.folders, *second.folders}) == 750
    assert len({info.key for info in [*first.objects, *second.objects]}) == 750


def test_the_buckets_are_listed_by_name(store: ObjectStore) -> None:
    found = store.buckets()
    assert BUCKET in found and list(found) == sorted(found)


def test_a_reserved_bucket_is_neither_listed_nor_opened(store: ObjectStore, prefix: str) -> None:
    store.put_bytes(BUCKET, prefix + "x", b"x")
    closed = ObjectStore(replace(store.address, reserved=BUCKET))
    assert BUCKET not in closed.buckets()
    actions: list[Callable[[], object]] = [
        lambda: closed.read(BUCKET, prefix + "x", limit=1),
        lambda: closed.stat(BUCKET, prefix + "x"),
        lambda: list(closed.list(BUCKET, prefix)),
        lambda: closed.level(BUCKET, prefix),
        lambda: closed.ensure_bucket(BUCKET),
        lambda: closed.put_bytes(BUCKET, prefix + "x", b"other"),
        lambda: closed.delete(BUCKET, [prefix + "x"]),
        lambda: closed.presigned_put(BUCKET, prefix + "x", timedelta(minutes=5)),
    ]
    for action in actions:
        with pytest.raises(InvalidRequest, match="choose another bucket"):
            action()
    assert store.read(BUCKET, prefix + "x", limit=1) == b"x"
    closed.close()


@pytest.mark.parametrize("key", ["", "a/../b", "./a", "a/.", "\ud800"])
def test_keys_that_a_url_cannot_hold_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidRequest):
        store.read(BUCKET, key, limit=1)


def test_deleting_what_is_gone_is_no_error(store: ObjectStore, prefix: str) -> None:
    store.put_bytes(BUCKET, prefix + "x", b"x")
    store.delete(BUCKET, [prefix + "x", prefix + "gone"])
    assert store.stat(BUCKET, prefix + "x") is None


def test_a_presigned_url_takes_one_object(store: ObjectStore, prefix: str) -> None:
    url = store.presigned_put(BUCKET, prefix + "é +.jpg", timedelta(minutes=5))
    assert urllib3.request("PUT", url, body=b"abc").status == 200
    assert store.read(BUCKET, prefix + "é +.jpg", limit=3) == b"abc"
    assert urllib3.request("PUT", url.replace("%2B.jpg", "%2B.png"), body=b"abc").status == 403


def test_a_presigned_url_leads_to_the_public_endpoint() -> None:
    store = ObjectStore(
        StoreAddress("http://store:9000", "a", "s" * 8, public_endpoint="https://s3.example.org")
    )
    assert store.presigned_put("bucket", "k", timedelta(hours=1)).startswith(
        "https://s3.example.org/bucket/k?"
    )


@pytest.mark.parametrize(
    ("endpoint", "addressing", "start"),
    [
        ("http://minio:9000", "auto", "http://minio:9000/bucket/k?"),
        ("http://minio:9000", "virtual", "http://bucket.minio:9000/k?"),
        ("https://oss-cn-hangzhou.aliyuncs.com", "auto", "https://bucket.oss-cn-hangzhou.aliyuncs.com/k?"),
        ("https://oss-cn-hangzhou.aliyuncs.com", "path", "https://oss-cn-hangzhou.aliyuncs.com/bucket/k?"),
        ("https://s3.eu-west-1.amazonaws.com", "auto", "https://bucket.s3.eu-west-1.amazonaws.com/k?"),
    ],
)
def test_the_bucket_stands_where_the_store_expects_it(endpoint: str, addressing: str, start: str) -> None:
    region = "eu-west-1" if "eu-west-1" in endpoint else "us-east-1"
    store = ObjectStore(StoreAddress(endpoint, "a", "s" * 8, region=region, addressing=addressing))
    assert store.presigned_put("bucket", "k", timedelta(hours=1)).startswith(start)


@pytest.mark.parametrize(
    "endpoint", ["", "store:9000", "ftp://store", "http://", "http://store/path", "http://a b"]
)
def test_a_senseless_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(InvalidRequest, match="endpoint"):
        ObjectStore(StoreAddress(endpoint, "a", "s" * 8))


def test_unknown_addressing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="addressing"):
        ObjectStore(StoreAddress("http://store", addressing="host"))


def test_the_secret_is_not_shown() -> None:
    assert "s3cret" not in repr(StoreAddress("http://store", "a", "s3cret"))


def test_missing_things_have_their_own_errors(store: ObjectStore) -> None:
    assert store.stat(BUCKET, "nothing") is None
    assert not store.bucket_exists("no-such-bucket")
    with pytest.raises(ObjectMissing, match=f"s3://{BUCKET}/nothing"):
        store.read(BUCKET, "nothing", limit=1)
    for action in (
        lambda: store.read("no-such-bucket", "k", limit=1),
        lambda: store.stat("no-such-bucket", "k"),
        lambda: list(store.list("no-such-bucket", "")),
        lambda: store.put_bytes("no-such-bucket", "k", b""),
    ):
        with pytest.raises(BucketMissing, match="no-such-bucket"):
            action()


def test_good_credentials_pass_the_check(store: ObjectStore) -> None:
    store.check()


@pytest.mark.parametrize(
    ("access", "secret", "says"),
    [
        (servers.ACCESS_KEY, "wrong-secret-wrong", "the secret key is wrong"),
        ("nobody", servers.SECRET_KEY, "does not know the access key"),
        ("", "", "access denied"),
    ],
)
def test_wrong_credentials_are_told_apart(address: StoreAddress, access: str, secret: str, says: str) -> None:
    store = ObjectStore(StoreAddress(address.endpoint, access, secret))
    with pytest.raises(StorageDenied, match=says) as caught:
        store.check()
    assert servers.SECRET_KEY not in str(caught.value)
    store.close()


def test_nobody_at_the_address() -> None:
    [port] = servers.free_ports(1)
    store = ObjectStore(StoreAddress(f"http://127.0.0.1:{port}", "a", "s" * 8))
    with pytest.raises(StorageUnreachable, match="the connection is refused"):
        store.check()


def test_http_where_https_is_asked_for(address: StoreAddress) -> None:
    store = ObjectStore(StoreAddress(address.endpoint.replace("http", "https"), "a", "s" * 8))
    with pytest.raises(StorageUnreachable, match="TLS"):
        store.check()


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (_answer("200 OK", "<html><p>hello</html>", "text/html"), StorageUnreachable, "no S3 endpoint"),
        (_answer("200 OK", "<html><p>hello</p></html>", "text/html"), StorageUnreachable, "no S3 endpoint"),
        (_answer("200 OK", "{}", "application/json"), StorageUnreachable, "no S3 endpoint"),
        (_answer("404 Not Found", "nothing here", "text/plain"), StorageUnreachable, "no S3 endpoint"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", StorageUnreachable, "breaks off"),
        (_answer("503 Slow Down", _error("SlowDown")), StorageUnreachable, "SlowDown"),
        (_answer("502 Bad Gateway", "<html>", "text/html"), StorageUnreachable, "HTTP 502"),
        (_answer("403 Forbidden", _error("RequestTimeTooSkewed")), StorageDenied, "clock"),
        (_answer("400 Bad Request", _error("AuthorizationHeaderMalformed")), StorageDenied, "region"),
        (_answer("403 Forbidden", "go away", "text/plain"), StorageDenied, "HTTP 403"),
    ],
)
def test_strange_answers_become_one_sentence(
    hindered: ObjectStore, proxy: FaultProxy, answer: bytes, kind: type[AppError], says: str
) -> None:
    proxy.answer = answer
    with pytest.raises(kind, match=says) as caught:
        hindered.check()
    assert hindered.address.endpoint in str(caught.value)


def test_a_store_that_knows_the_key_but_shows_no_buckets_is_good(
    hindered: ObjectStore, proxy: FaultProxy
) -> None:
    proxy.answer = _answer("403 Forbidden", _error("AccessDenied"))
    hindered.check()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_answer("507 Insufficient Storage", _error("XMinioStorageFull")), StorageFull),
        (_answer("403 Forbidden", _error("AccessDenied")), StorageDenied),
        (_answer("503 Service Unavailable", _error("ServiceUnavailable")), StorageUnreachable),
    ],
)
def test_a_put_that_is_refused_says_why(
    hindered: ObjectStore, proxy: FaultProxy, answer: bytes, kind: type[AppError]
) -> None:
    proxy.answer = answer
    with pytest.raises(kind, match=f"s3://{BUCKET}/x"):
        hindered.put_bytes(BUCKET, "x", b"x")


def test_a_store_that_never_answers_is_given_up(impatient: ObjectStore, proxy: FaultProxy) -> None:
    proxy.silent = True
    with pytest.raises(StorageUnreachable, match="too long"):
        impatient.read(BUCKET, "x", limit=1)
    assert proxy.connections <= 3


def test_a_body_that_is_cut_off_is_never_taken_for_whole(
    store: ObjectStore, hindered: ObjectStore, proxy: FaultProxy, prefix: str, tmp_path: Path
) -> None:
    store.put_bytes(BUCKET, prefix + "x", b"x" * 500_000)
    proxy.cut_after = 100_000
    with pytest.raises(StorageUnreachable, match="breaks off"):
        hindered.read(BUCKET, prefix + "x", limit=500_000)
    with pytest.raises(StorageUnreachable):
        hindered.download(BUCKET, prefix + "x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    proxy.heal()
    assert hindered.read(BUCKET, prefix + "x", limit=500_000) == b"x" * 500_000


def test_a_listing_that_breaks_off_says_so(hindered: ObjectStore, proxy: FaultProxy) -> None:
    proxy.cut_after = 200
    with pytest.raises(StorageUnreachable):
        list(hindered.list(BUCKET, ""))


def test_a_full_disk_leaves_nothing_behind(
    store: ObjectStore, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put_bytes(BUCKET, prefix + "x", b"x")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageFull, match="is full"):
        store.download(BUCKET, prefix + "x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_store_keeps_its_objects_over_a_restart(tmp_path: Path) -> None:
    ports = servers.free_ports(8)
    for turn in range(2):
        with servers.seaweedfs(tmp_path, ports) as address:
            store = ObjectStore(address)
            if turn == 0:
                store.ensure_bucket("kept")
                store.put_bytes("kept", "x", b"still here")
            assert store.read("kept", "x", limit=100) == b"still here"
            store.close()


@pytest.mark.parametrize("name", ["abc", "a.b-c", "0" * 63])
def test_bucket_names_of_s3_pass(name: str) -> None:
    assert check_bucket(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Abc",
        "a_b",
        "-ab",
        "ab-",
        "a..b",
        "a.-b",
        "1.2.3.4",
        "xn--abc",
        "a/b",
        "a\nb",
        "é" * 3,
    ],
)
def test_other_bucket_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="bucket"):
        check_bucket(name)


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://bucket/a/b", ("bucket", "a/b/")),
        ("s3://bucket/a b/é/", ("bucket", "a b/é/")),
    ],
)
def test_paths_are_taken_apart(path: str, place: tuple[str, str]) -> None:
    assert parse_path(path) == place


@pytest.mark.parametrize(
    "path",
    [
        "",
        "bucket/a",
        "http://bucket/a",
        "s3:/bucket",
        "s3://",
        "s3://B/a",
        "s3://bucket//",
        "s3://bucket/a//b",
        "s3://bucket/../x",
        "s3://bucket/./x",
        "s3://bucket/a\\b",
        "s3://bucket/a\nb",
        "s3://bucket/\x00",
        "s3://bucket/\ud800",
        "s3://bucket/" + "x" * 1000,
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_path(path)


@pytest.mark.parametrize("name", ["a", "0", "A-b_c", "x" * 30])
def test_good_names_pass(name: str) -> None:
    assert check_name(name, "dataset") == name


@pytest.mark.parametrize(
    "name", ["", "x" * 31, "-a", "_a", "a b", "a/b", "..", "é", "a\n", "a.b", "x" * 10_000]
)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="1 to 30 characters") as caught:
        check_name(name, "dataset")
    assert len(str(caught.value)) < 250
