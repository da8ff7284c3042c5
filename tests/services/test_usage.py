"""What services count, as figures over time; and their logs, line by line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.datasets.tables import Dataset
from backend.db import SessionFactory, now
from backend.errors import ServiceUnreachable
from backend.runtime import Runtime
from backend.sealing import new_key
from backend.services import asking, logs, registry, usage
from backend.services.tables import Service, ServiceSample
from backend.services.usage import Count
from backend.settings import Settings
from model_server.config import Token
from tests.model_server.bundles import body, make_bundle, picture
from tests.model_server.conftest import hold, plugins_folder
from tests.model_server.servers import STORED, Server, running
from tests.services.test_registry import _model

__all__ = ["hold", "plugins_folder"]
HOUR = timedelta(hours=1)


@pytest.fixture
def service(session: Session, dataset: Dataset) -> Service:
    return registry.create(session, _model(session, dataset, "m1"), "colours", instances=1, quota=1)


def _noted(session: Session, service: Service, minutes_ago: float, requests: dict[str, int]) -> None:
    answers = requests.get("0", 0)
    session.add(
        ServiceSample(
            service_id=service.id,
            at=now() - timedelta(minutes=minutes_ago),
            requests=requests,
            seconds=0.02 * answers,
            buckets={"0.01": 0, "0.03": answers, "+Inf": answers},
        )
    )
    session.flush()


def test_what_was_counted_is_the_difference_of_two_moments(session: Session, service: Service) -> None:
    for minutes, number in ((30, 100), (20, 110), (10, 110), (5, 150)):
        _noted(session, service, minutes, {"0": number, "1002": 3 if minutes == 5 else 0})
    points = usage.points(session, service, HOUR)
    assert [round(point.count.total) for point in points] == [10, 0, 43]
    everything = usage.total(point.count for point in points)
    assert (everything.total, everything.errors) == (53, 3)
    assert usage.kinds(everything) == [("1002", 3)]
    assert everything.mean == pytest.approx(0.02)
    assert everything.quantile(0.5) == pytest.approx(0.02)


def test_a_service_that_was_started_again_counts_from_zero(session: Session, service: Service) -> None:
    for minutes, number in ((10, 500), (5, 7), (4, 9)):
        _noted(session, service, minutes, {"0": number})
    assert usage.total(p.count for p in usage.points(session, service, HOUR)).total == 9


def test_of_an_idle_or_unknown_service_no_time_is_made_up(session: Session, service: Service) -> None:
    assert usage.points(session, service, HOUR) == []
    nothing = Count({}, 0.0, {})
    assert (nothing.mean, nothing.quantile(0.95), nothing.errors) == (None, None, 0)
    slow = Count({"0": 4}, 80.0, {"10.0": 0, "+Inf": 4})
    assert slow.quantile(0.5) == 10.0


def test_a_day_is_kept(session: Session, service: Service) -> None:
    _noted(session, service, 60 * 25, {"0": 1})
    _noted(session, service, 60, {"0": 2})
    usage.note(session, service, Count({"0": 3}, 0.1, {"+Inf": 3}))
    assert session.scalar(select(func.count()).select_from(ServiceSample)) == 2


def test_other_text_than_counts_is_refused() -> None:
    assert usage.parse("") == Count({}, 0.0, {})
    with pytest.raises(ServiceUnreachable, match="cannot be read"):
        usage.parse("<html>nothing to see</html>")


@pytest.fixture
def runtime(sessions: SessionFactory, redis: Redis, tmp_path: Path) -> Iterator[Runtime]:
    port = redis.connection_pool.connection_kwargs["port"]
    made = Runtime(
        Settings(
            data_dir=tmp_path,
            secret_key=new_key(),
            redis_url=f"redis://127.0.0.1:{port}/0",
            database_url=str(sessions.kw["bind"].url),
        )
    )
    yield made
    made.sessions.kw["bind"].dispose()
    made.redis.close()


@pytest.fixture
def served(
    runtime: Runtime, session: Session, service: Service, tmp_path: Path, plugins_folder: Path, hold: Path
) -> Iterator[Server]:
    own = Token("0", **asking.hashes(asking.own_token(runtime.settings, service.id)))
    bundle = make_bundle(tmp_path / "bundle", hold)
    with running(tmp_path / "service", plugins_folder, bundle, tokens=(own, STORED)) as server:
        service.ready_instances, service.endpoint = 1, f"{server.url}/api/predict/colours"
        session.commit()
        yield server


def test_running_services_are_asked_for_their_counts_now_and_then(
    runtime: Runtime, session: Session, service: Service, served: Server
) -> None:
    session.add(ServiceSample(service_id=service.id, requests={}, seconds=0.0, buckets={}))
    session.commit()
    served.predict(body(picture("red")))
    served.predict(body(b"no image"))
    for _ in range(3):  # as many workers do, one after the other
        usage.note_due(runtime)
    (point,) = usage.points(session, service, HOUR)
    assert point.count.requests == {"0": 1, "1002": 1}
    assert session.scalar(select(func.count()).select_from(ServiceSample)) == 2


def test_a_service_that_does_not_answer_costs_the_others_nothing(
    runtime: Runtime, session: Session, service: Service, served: Server
) -> None:
    gone = registry.create(session, service.model, "another", instances=1, quota=1)
    gone.ready_instances, gone.endpoint = 1, "http://127.0.0.1:9/api/predict/another"
    session.commit()
    usage.note_due(runtime)
    noted = session.scalars(select(ServiceSample.service_id)).all()
    assert noted == [service.id]
    with pytest.raises(ServiceUnreachable, match="does not answer"):
        logs.last(runtime.settings, gone, 5)


def test_a_service_of_an_older_release_is_to_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = httpx.Response(404, json={"success": False, "errorCode": 404})
    monkeypatch.setattr(httpx.Client, "request", lambda *_, **__: answer)
    service = Service(
        id=1, name="s", desired="running", ready_instances=1, endpoint="http://h:1/api/predict/s"
    )
    with pytest.raises(ServiceUnreachable, match="stop it and start it again"):
        logs.last(Settings(secret_key=new_key()), service, 5)


def test_a_log_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        '{"event": "request", "level": "info", "timestamp": "2026-01-01T00:00:00Z", "ms": 3.1}',
        "[1, 2]",
    ]
    monkeypatch.setattr(asking, "log_lines", lambda *_: [*lines, "x" * 5000])
    first, second, third = logs.last(Settings(), Service(name="s"), 3)
    assert (first.at, first.level, first.message, first.facts) == (
        "2026-01-01T00:00:00Z",
        "info",
        "request",
        {"ms": 3.1},
    )
    assert second.message == "[1, 2]" and len(third.message) == 2000
    assert len(logs.last(Settings(), Service(name="s"), 1)) == 1
