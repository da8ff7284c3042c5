from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.bundle import Bundle
from tests.model_server.bundles import labels
from tests.model_server.hosts import Machine, machine, predict


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, plugins_folder: Path, bundle: Bundle, second_bundle: Bundle
) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("backend"), plugins_folder) as started:
        started.backend.offer(bundle)
        started.backend.offer(second_bundle)
        yield started


def test_a_wanted_service_is_deployed_and_answers(host: Machine, bundle: Bundle) -> None:
    import time

    t0 = time.monotonic()
    revision = host.backend.want("deploy", bundle, instances=2)
    report = host.backend.wait("deploy", "ready", revision, count=2)
    print("deploy", report["at"] - t0)
    assert report["endpoint"] == f"http://127.0.0.1:{report['port']}/api/predict/colours"
    assert labels(predict(report).json())[0] == "red@1"
