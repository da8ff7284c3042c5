"""How a service is used: what its processes count, noted twice a minute and kept for a day."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client.parser import text_string_to_metric_families
from redis.exceptions import RedisError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from backend.db import now, transaction
from backend.errors import QueueUnavailable, ServiceUnreachable, WrongState
from backend.runtime import Runtime
from backend.services import asking
from backend.services.tables import Service, ServiceSample

logger = structlog.get_logger()
EVERY = timedelta(seconds=30)
KEPT = timedelta(days=1)
_TURN = "sightloop:usage:{}"  # held by whoever notes a service's counts, until the next are due
_SUCCESS = "0"


@dataclass(frozen=True)
class Count:
    """Requests by errorCode (`0` is success), the `seconds` of all answers together, and `buckets`: how many
    answers took at most so many seconds.
    """

    requests: Mapping[str, float]
    seconds: float
    buckets: Mapping[str, float]

    @property
    def total(self) -> float:
        """All requests."""
        return sum(self.requests.values())

    @property
    def errors(self) -> float:
        """Requests that got no answer."""
        return self.total - self.requests.get(_SUCCESS, 0)

    @property
    def mean(self) -> float | None:
        """Mean seconds of an answer; None when there was none."""
        answered = max(self.buckets.values(), default=0)
        return self.seconds / answered if answered else None

    def quantile(self, share: float) -> float | None:
        """The seconds within which that share of the answers came, about; None when there was none."""
        bounds = sorted(self.buckets, key=float)
        rank = share * (self.buckets[bounds[-1]] if bounds else 0)
        low = below = 0.0
        for bound in bounds:
            high, reached = float(bound), self.buckets[bound]
            if rank and reached >= rank:
                part = (rank - below) / (reached - below)
                return low if math.isinf(high) else low + part * (high - low)
            low, below = high, reached
        return None


@dataclass(frozen=True)
class Point:
    """What was counted in the time that ends at `at`."""

    at: datetime
    count: Count


def parse(exposition: str) -> Count:
    """The counts in what a service tells Prometheus. Raises `ServiceUnreachable` for other text."""
    requests: dict[str, float] = {}
    buckets: dict[str, float] = {}
    seconds = 0.0
    try:
        for family in text_string_to_metric_families(exposition):
            for sample in family.samples:
                if sample.name == "sightloop_requests_total":
                    requests[sample.labels["code"]] = sample.value
                elif sample.name == "sightloop_request_seconds_bucket":
                    buckets[sample.labels["le"]] = sample.value
                elif sample.name == "sightloop_request_seconds_sum":
                    seconds = sample.value
    except (ValueError, KeyError):
        raise ServiceUnreachable("the service's counts cannot be read") from None
    return Count(requests, seconds, buckets)


def note_due(runtime: Runtime) -> None:
    """Note the counts of every service that answers and has not been asked for `EVERY`; several processes may
    do this at once. Raises `QueueUnavailable`.
    """
    with runtime.sessions() as session:
        services = session.scalars(select(Service).where(Service.ready_instances > 0)).all()
    for service in services:
        if not _has_turn(runtime, service):
            continue
        try:
            count = parse(asking.counts(runtime.settings, service))
        except (ServiceUnreachable, WrongState) as error:
            logger.info("usage_unknown", service=service.name, reason=str(error))
            continue
        with transaction(runtime.sessions) as session:
            if session.get(Service, service.id) is not None:
                note(session, service, count)


def _has_turn(runtime: Runtime, service: Service) -> bool:
    try:
        return bool(runtime.redis.set(_TURN.format(service.id), "1", nx=True, ex=EVERY))
    except RedisError as error:
        raise QueueUnavailable(f"the queue does not answer ({type(error).__name__})") from None


def note(session: Session, service: Service, count: Count) -> None:
    """Keep the counts of this moment, and drop those that are too old."""
    session.add(
        ServiceSample(
            service_id=service.id,
            requests=dict(count.requests),
            seconds=count.seconds,
            buckets=dict(count.buckets),
        )
    )
    old = ServiceSample.service_id == service.id, ServiceSample.at < now() - KEPT
    session.execute(delete(ServiceSample).where(*old))


def points(session: Session, service: Service, span: timedelta, *, most: int = 60) -> list[Point]:
    """What was counted in the last `span`, in at most `most` parts of the same length; parts of which nothing
    is known are left out.
    """
    end = now()
    statement = select(ServiceSample).where(
        ServiceSample.service_id == service.id, ServiceSample.at >= end - span - 2 * EVERY
    )
    part = max(span / most, EVERY)
    parts: dict[int, list[Count]] = {}
    for at, count in _differences(session.scalars(statement.order_by(ServiceSample.at, ServiceSample.id))):
        if at >= end - span:
            parts.setdefault(int((end - at) / part), []).append(count)
    return [Point(end - number * part, total(parts[number])) for number in sorted(parts, reverse=True)]


def total(counts: Iterable[Count]) -> Count:
    """All together."""
    requests: Counter[str] = Counter()
    buckets: Counter[str] = Counter()
    seconds = 0.0
    for count in counts:
        requests.update(count.requests)
        buckets.update(count.buckets)
        seconds += count.seconds
    return Count(requests, seconds, buckets)


def _differences(rows: Iterable[ServiceSample]) -> Iterator[tuple[datetime, Count]]:
    """What was counted between one row and the next; after a start the processes count from zero again."""
    before: Count | None = None
    for row in rows:
        count = Count(row.requests, row.seconds, row.buckets)
        if before is not None:
            fresh = count.total < before.total
            yield row.at, count if fresh else _minus(count, before)
        before = count


def _minus(later: Count, earlier: Count) -> Count:
    def differ(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
        return {key: max(0.0, value - b.get(key, 0.0)) for key, value in a.items()}

    return Count(
        differ(later.requests, earlier.requests),
        max(0.0, later.seconds - earlier.seconds),
        differ(later.buckets, earlier.buckets),
    )


def kinds(count: Count) -> Sequence[tuple[str, int]]:
    """The errorCodes that were answered, most frequent first, with how often."""
    errors = [(code, round(number)) for code, number in count.requests.items() if code != _SUCCESS and number]
    return sorted(errors, key=lambda pair: (-pair[1], pair[0]))
