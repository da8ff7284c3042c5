"""Sync against a bare listing, and the check, on a real SeaweedFS: ratios side by side in one run.

    python -m benchmarks.sync [--objects 10000] [--data ../shared/data]

Each figure is taken in a process of its own, so that peak memory is that of one thing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from backend import db
from backend.datasets import check, index, operations
from backend.datasets.tables import Dataset
from backend.db import SessionFactory, transaction
from backend.settings import Settings
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.tables import StorageConnection, Workspace
from tests.servers import seaweedfs

BUCKET = "benchmark"
_PIXEL = b"x" * 100  # a sync never opens an object


def _fill(store: ObjectStore, prefix: str, number: int) -> None:
    keys = (f"{prefix}class{n % 10}/{n:07}.jpg" for n in range(number))
    with ThreadPoolExecutor(32) as pool:
        while part := list(islice(keys, 10_000)):
            list(pool.map(lambda key: store.put_bytes(BUCKET, key, _PIXEL), part))


def _upload(store: ObjectStore, prefix: str, folder: Path) -> int:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda p: store.put_file(BUCKET, prefix + str(p.relative_to(folder)), p), files))
    return len(files)


def _database(url: str, prefix: str) -> tuple[SessionFactory, Dataset]:
    sessions = db.sessions(db.connect(url))
    with transaction(sessions) as session:
        dataset = session.query(Dataset).filter_by(prefix=prefix).one_or_none()
        if dataset is None:
            workspace = Workspace(name=prefix[:30])
            session.add(workspace)
            session.flush()
            connection = StorageConnection(workspace_id=workspace.id, name="default", endpoint="-")
            dataset = Dataset(
                workspace_id=workspace.id,
                connection=connection,
                name="bench",
                type="classification",
                bucket=BUCKET,
                prefix=prefix,
            )
            connection.workspace_id = workspace.id
            session.add(dataset)
    return sessions, dataset


def _list(store: ObjectStore, url: str, prefix: str) -> int:
    return sum(1 for _ in store.list(BUCKET, prefix))


def _sync(store: ObjectStore, url: str, prefix: str) -> int:
    sessions, dataset = _database(url, prefix)
    with transaction(sessions) as session:
        operation = operations.start(session, dataset, "sync")
    with transaction(sessions) as session:
        claimed = operations.claim(session, operation.id)
        assert claimed is not None
    counts = index.sync(sessions, store, dataset, claimed)
    with transaction(sessions) as session:
        operations.finish(session, claimed.id, claimed.attempt, dict(counts))
    return counts["listed"]


def _check(store: ObjectStore, url: str, prefix: str) -> int:
    sessions, dataset = _database(url, prefix)
    return check.check(sessions, store, dataset, settings=Settings())["checked"]


_WORK: dict[str, Callable[[ObjectStore, str, str], int]] = {"list": _list, "sync": _sync, "check": _check}


def _child(work: str, address: StoreAddress, url: str, prefix: str) -> dict[str, Any]:
    """Run one thing in a process of its own: objects, seconds, peak memory in MB, and that at its start."""
    command = [sys.executable, "-m", "benchmarks.sync", "--run", work, "--place", prefix, "--database", url]
    secrets = {
        "SIGHTLOOP_BENCH_STORE": json.dumps([address.endpoint, address.access_key, address.secret_key])
    }
    done = subprocess.run(command, env=os.environ | secrets, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _run(work: str, url: str, prefix: str) -> None:
    store = ObjectStore(StoreAddress(*json.loads(os.environ["SIGHTLOOP_BENCH_STORE"])))
    store.bucket_exists(BUCKET)  # the connection stands, and what is loaded on first use is loaded
    _database(url, prefix)
    memory = _peak()
    started = time.perf_counter()
    number = _WORK[work](store, url, prefix)
    seconds = time.perf_counter() - started
    print(json.dumps({"objects": number, "seconds": seconds, "peak": _peak(), "start": memory}))


def _peak() -> int:
    """The most memory in MB that this process had; `getrusage` would count its parent's."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def _compare(address: StoreAddress, store: ObjectStore, folder: Path, number: int, rounds: int) -> None:
    prefix = f"objects{number}/"
    started = time.perf_counter()
    _fill(store, prefix, number)
    print(f"{number:,} objects put in {time.perf_counter() - started:.0f} s", flush=True)
    lists, firsts, seconds = [], [], []
    for turn in range(rounds):  # in turn, so that what else the machine does meets all three
        url = f"sqlite:///{folder / f'{number}-{turn}.db'}"
        db.migrate(url)
        lists.append(_child("list", address, url, prefix))
        firsts.append(_child("sync", address, url, prefix))
        seconds.append(_child("sync", address, url, prefix))
    bare = min(one["seconds"] for one in lists)
    for name, results in (("bare listing", lists), ("first sync", firsts), ("sync without change", seconds)):
        best = min(results, key=lambda one: one["seconds"])
        assert all(one["objects"] == number for one in results)
        print(
            f"  {name:20} {best['seconds']:7.2f} s   {best['seconds'] / bare:5.2f} x   "
            f"{number / best['seconds']:8,.0f} objects/s   peak {best['peak']} MB (start {best['start']} MB)",
            flush=True,
        )


def _measure_check(address: StoreAddress, store: ObjectStore, folder: Path, images: Path) -> None:
    number = _upload(store, "photos/", images)
    url = f"sqlite:///{folder / 'check.db'}"
    db.migrate(url)
    _child("sync", address, url, "photos/")
    for name in ("first check", "check without change"):
        result = _child("check", address, url, "photos/")
        print(
            f"{name}: {result['objects']} of {number} photographs in {result['seconds']:.2f} s "
            f"({result['objects'] / result['seconds']:.0f} images/s), "
            f"peak {result['peak']} MB (start {result['start']} MB)",
            flush=True,
        )


def main() -> None:
    """Run the benchmark, or one part of it in a child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("SIGHTLOOP_BENCH_DATA", "../shared/data"))
    )
    parser.add_argument("--run", choices=_WORK, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    parser.add_argument("--database", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        _run(options.run, options.database, options.place)
        return
    with tempfile.TemporaryDirectory() as name, seaweedfs(Path(name)) as address:
        store = ObjectStore(address)
        store.ensure_bucket(BUCKET)
        for number in options.objects:
            _compare(address, store, Path(name), number, options.rounds)
        photographs = options.data / "classification" / "trashnet"
        if photographs.is_dir():
            _measure_check(address, store, Path(name), photographs)


if __name__ == "__main__":
    main()
