"""Operations as rows, and the job that runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from backend.datasets import index, operations
from backend.datasets.operations import MAX_ATTEMPTS, AttemptRefused
from backend.datasets.tables import Operation
from backend.db import now, transaction
from backend.errors import InvalidRequest, StorageUnreachable, WrongState
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore, StoreAddress
from backend.workspaces.tables import StorageConnection
from tests.datasets.conftest import Draw, Place
from tests.valkey import until
from workers.operations import execute


class _PlaceRuntime(Runtime):
    """The runtime of a worker at this place."""

    def __init__(self, place: Place) -> None:
        super().__init__(Settings())
        vars(self).update(sessions=place.sessions, place=place)

    def store(self, connection: StorageConnection, *, read_timeout: float = 30.0) -> ObjectStore:
        """The only one here."""
        store: ObjectStore = vars(self)["place"].store
        return store


def _start(place: Place, kind: str = "sync") -> Operation:
    with transaction(place.sessions) as session:
        return operations.start(session, place.dataset, kind)


def _row(place: Place, operation: Operation) -> Operation:
    with place.sessions() as session:
        return session.get_one(Operation, operation.id)


def _run(place: Place, operation: Operation) -> Operation:
    execute(_PlaceRuntime(place), operation.id)
    return _row(place, operation)


def _silence(place: Place, seconds: int) -> None:
    moment = now() - timedelta(seconds=seconds)
    with transaction(place.sessions) as session:
        session.execute(update(Operation).values(heartbeat_at=moment, created_at=moment))


def _requeue(place: Place) -> list[int]:
    with transaction(place.sessions) as session:
        return [row.id for row in operations.requeue_lost(session, silent_for=timedelta(seconds=60))]


def test_an_unknown_kind_is_refused(place: Place) -> None:
    with pytest.raises(InvalidRequest, match="there are sync, check"):
        _start(place, "wipe")


def test_one_operation_of_a_kind_at_a_time(place: Place) -> None:
    first = _start(place)
    with pytest.raises(WrongState, match=f"operation {first.id}"):
        _start(place)
    _start(place, "check")
    _run(place, first)
    assert _start(place).id > first.id


def test_operations_are_listed_newest_first(place: Place) -> None:
    for _ in range(3):
        _run(place, _start(place))
    with place.sessions() as session:
        ids = [row.id for row in operations.list_(session, place.dataset)]
        newest = [row.id for row in operations.list_(session, place.dataset, limit=2)]
    assert len(ids) == 3
    assert ids == sorted(ids, reverse=True)
    assert newest == ids[:2]


def test_a_second_worker_does_nothing(place: Place) -> None:
    operation = _start(place)
    with transaction(place.sessions) as session:
        assert operations.claim(session, operation.id) is not None
        assert operations.claim(session, operation.id) is None
        assert operations.claim(session, 10_000) is None


def test_a_late_writer_is_refused(place: Place) -> None:
    operation = place.operation()
    _silence(place, 120)
    assert _requeue(place) == [operation.id]
    with pytest.raises(AttemptRefused), transaction(place.sessions) as session:
        operations.progress(session, operation.id, operation.attempt, done=5)
    with transaction(place.sessions) as session:
        assert operations.claim(session, operation.id) is not None
    with pytest.raises(AttemptRefused), transaction(place.sessions) as session:
        operations.finish(session, operation.id, operation.attempt, {})
    row = _row(place, operation)
    assert (row.state, row.attempt, row.done) == ("running", 2, 0)


def test_an_operation_with_a_heartbeat_is_left_alone(place: Place) -> None:
    place.operation()
    assert _requeue(place) == []


def test_an_operation_whose_job_was_lost_is_given_another(place: Place) -> None:
    operation = _start(place)
    assert _requeue(place) == []
    _silence(place, 120)
    assert _requeue(place) == [operation.id]


def test_a_worker_lost_too_often_ends_the_operation(place: Place) -> None:
    operation = place.operation()
    with transaction(place.sessions) as session:
        session.execute(update(Operation).values(attempt=MAX_ATTEMPTS))
    _silence(place, 120)
    assert _requeue(place) == []
    row = _row(place, operation)
    assert (row.state, row.error_code) == ("failed", "worker_lost")


def test_sync_and_check_run_to_their_end(place: Place, draw: Draw) -> None:
    for number in range(3):
        place.put(f"cat/{number}.jpg", draw(number))
    synced = _run(place, _start(place))
    assert (synced.state, synced.done, synced.result["added"], synced.seen) == ("succeeded", 3, 3, None)
    checked = _run(place, _start(place, "check"))
    assert (checked.state, checked.done, checked.total) == ("succeeded", 3, 3)
    assert (checked.result["images"], checked.result["usable"]) == (3, 3)
    assert checked.finished_at is not None


def test_running_it_twice_does_nothing_the_second_time(place: Place) -> None:
    operation = _start(place)
    first = _run(place, operation)
    again = _run(place, operation)
    assert (again.attempt, again.finished_at) == (first.attempt, first.finished_at)


def test_a_store_that_is_down_fails_the_operation_with_its_reason(place: Place) -> None:
    place.store = ObjectStore(StoreAddress("http://127.0.0.1:1", "a", "s" * 8))
    row = _run(place, _start(place))
    assert (row.state, row.error_code) == ("failed", StorageUnreachable.code)
    assert "http://127.0.0.1:1" in row.error


def test_an_unknown_error_says_nothing_of_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(index, "sync", broken)
    row = _run(place, _start(place))
    assert (row.state, row.error_code) == ("failed", "internal")
    assert "secret" not in row.error


def test_a_run_that_lost_its_operation_leaves_quietly(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    operation = _start(place)

    def stolen(*_: object) -> dict[str, int]:
        with transaction(place.sessions) as session:
            session.execute(update(Operation).values(attempt=9))
        return {}

    monkeypatch.setattr(index, "sync", stolen)
    assert _run(place, operation).state == "running"


_CHILD = """
import sys, time
from backend import tables
from backend.datasets import index
from backend.runtime import Runtime
from backend.settings import Settings
from backend.storage import ObjectStore, StoreAddress
from workers.operations import execute
index.BATCH = 5
class Slow(ObjectStore):
    def list(self, *args, **kwargs):
        for number, info in enumerate(super().list(*args, **kwargs)):
            if number >= 12:
                time.sleep(600)
            yield info
store = Slow(StoreAddress(*sys.argv[2:5]))
class Here(Runtime):
    def store(self, connection):
        return store
execute(Here(Settings(database_url=sys.argv[1])), int(sys.argv[5]))
"""


def test_a_sync_killed_with_signal_9_is_resumed(place: Place, address: StoreAddress, tmp_path: Path) -> None:
    for number in range(20):
        place.put(f"cat/{number:02}.jpg")
    operation = _start(place)
    url = place.sessions.kw["bind"].url.render_as_string(hide_password=False)
    arguments = [url, address.endpoint, address.access_key, address.secret_key, str(operation.id)]
    child = subprocess.Popen([sys.executable, "-c", _CHILD, *arguments])
    deadline = time.monotonic() + 60
    while _row(place, operation).done < 10:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert len(place.images()) == 10
    _silence(place, 120)
    assert _requeue(place) == [operation.id]
    row = _run(place, operation)
    assert (row.state, row.attempt) == ("succeeded", 2)
    assert (row.result["listed"], row.result["added"]) == (20, 20)
    assert len(place.images()) == 20


def test_deleting_a_dataset_takes_its_operations_along(place: Place) -> None:
    _run(place, _start(place))
    with transaction(place.sessions) as session:
        from backend.datasets import registry

        registry.delete(session, registry.get(session, place.dataset.workspace_id, "parts"))
        assert session.scalars(select(Operation)).all() == []


def test_a_run_that_notes_no_progress_is_alive(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing a large bucket again takes longer than a worker may be silent."""
    monkeypatch.setattr("workers.operations._BEAT_SECONDS", 0.01)

    def listing(*_: object, **__: object) -> dict[str, int]:
        _silence(place, 3600)
        until(lambda: _is_fresh(_row(place, operation)), "a sign of life")
        return {}

    monkeypatch.setattr(index, "sync", listing)
    operation = _start(place)
    done = _run(place, operation)
    assert (done.state, done.attempt) == ("succeeded", 1)


def _is_fresh(row: Operation) -> bool:
    return row.heartbeat_at is not None and row.heartbeat_at > now() - timedelta(seconds=60)


def test_readings_of_label_studio_do_not_hide_what_people_have_started(place: Place) -> None:
    asked = _start(place)
    _run(place, asked)
    with transaction(place.sessions) as session:
        for state in ("succeeded", "succeeded", "failed"):
            session.add(Operation(dataset_id=place.dataset.id, kind="reconcile", state=state))
    with place.sessions() as session:
        shown = operations.list_(session, place.dataset, limit=5)
    assert [(row.kind, row.state) for row in shown] == [("reconcile", "failed"), ("sync", "succeeded")]
