"""What Prometheus may ask: counts and times over all instances of the service.

`PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported; `model_server/gunicorn.conf.py` does.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)

REQUESTS = Counter("sightloop_requests_total", "Requests by errorCode, 0 for success.", ("code",))
SECONDS = Histogram("sightloop_request_seconds", "Time from the body to the answer.", buckets=_BUCKETS)
PHASES = Histogram(
    "sightloop_phase_seconds",
    "Time in one phase of a request, waiting included.",
    ("phase",),
    buckets=_BUCKETS,
)
QUEUED = Gauge("sightloop_requests_inside", "Requests waiting or working.", multiprocess_mode="livesum")
READY = Gauge("sightloop_instances_ready", "Instances that can answer.", multiprocess_mode="livesum")


def exposition() -> bytes:
    """The metrics of all processes of this service in Prometheus' text format."""
    registry = REGISTRY
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return bytes(generate_latest(registry))
