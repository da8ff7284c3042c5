"""A real host under a real supervisord, against a fake backend."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import psutil
import pytest

from model_server import auth, slot
from model_server.supervision import SupervisorError
from plugins import bundle as bundles
from plugins.bundle import Bundle
from tests.model_server.bundles import labels, make_bundle
from tests.model_server.hosts import Machine, machine, predict
from tests.model_server.servers import TOKEN, until
from tests.model_server.test_instances import Traffic


@contextlib.contextmanager
def offering(folder: Path, plugins_folder: Path, *bundles: Bundle) -> Iterator[Machine]:
    """A host whose backend has these bundles."""
    with machine(folder, plugins_folder) as started:
        for one in bundles:
            started.backend.offer(one)
        yield started


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, plugins_folder: Path, bundle: Bundle, second_bundle: Bundle
) -> Iterator[Machine]:
    with offering(tmp_path_factory.mktemp("backend"), plugins_folder, bundle, second_bundle) as started:
        yield started


@pytest.fixture
def fresh(
    tmp_path_factory: pytest.TempPathFactory, plugins_folder: Path, bundle: Bundle, second_bundle: Bundle
) -> Iterator[Machine]:
    """A host on which no other test leaves anything."""
    with offering(tmp_path_factory.mktemp("fresh"), plugins_folder, bundle, second_bundle) as started:
        yield started


def test_a_wanted_service_is_deployed_changed_stopped_and_deleted(
    fresh: Machine, bundle: Bundle, second_bundle: Bundle
) -> None:
    backend = fresh.backend
    report = backend.wait("one", "ready", backend.want("one", bundle, instances=2), count=2)
    assert report["endpoint"] == f"http://127.0.0.1:{report['port']}/api/predict/colours"
    assert labels(predict(report).json())[0] == "red@1"

    with Traffic(report["endpoint"]) as traffic:
        traffic.wait_for("colours1")
        changed = backend.wait("one", "ready", backend.want("one", second_bundle), count=2)
        traffic.wait_for("colours2")
        scaled = backend.wait("one", "ready", backend.want("one", instances=1), count=1)
        traffic.wait_for("colours2")
    assert traffic.failures() == []
    assert traffic.models() == {("colours1", "red@1"), ("colours2", "red@2")}
    assert changed["port"] == scaled["port"] == report["port"]

    stopped = backend.wait("one", "stopped", backend.want("one", desired="stopped"))
    assert stopped["ready_instances"] == 0
    with pytest.raises(httpx.ConnectError):
        predict(report)
    again = backend.wait("one", "ready", backend.want("one", desired="running"), count=1)
    assert again["port"] == report["port"]
    assert labels(predict(again).json())[0] == "red@2"

    backend.wait("one", "deleted", backend.want("one", desired="deleted"))
    with pytest.raises(httpx.ConnectError):
        predict(report)
    assert not [name for name in fresh.supervisor.states() if name.startswith("colours.one:")]
    assert not (fresh.folder / "services" / "colours.one").exists()
    assert not list((fresh.folder / "services.d").iterdir())
    assert not list((fresh.folder / "logs").iterdir())
    assert not list((fresh.folder / "bundles").iterdir())


def test_a_stopped_service_of_a_moved_installation_starts_again(host: Machine, bundle: Bundle) -> None:
    backend, key = host.backend, "colours.moved"
    backend.wait("moved", "ready", backend.want("moved", bundle))
    backend.wait("moved", "stopped", backend.want("moved", desired="stopped"))
    file = host.folder / "services.d" / f"{key}.conf"
    file.write_text(file.read_text().replace(sys.executable, "/moved/python"))
    host.supervisor.remove(key)  # as after a restart, supervisord knows what the old installation wrote
    host.supervisor.add(key)
    report = backend.wait("moved", "ready", backend.want("moved", desired="running"))
    assert labels(predict(report).json())[0] == "red@1"
    assert "/moved/python" not in file.read_text()
    backend.wait("moved", "deleted", backend.want("moved", desired="deleted"))


def test_a_service_that_served_when_its_installation_moved_serves_again(
    host: Machine, bundle: Bundle
) -> None:
    backend, key = host.backend, "colours.served"
    report = backend.wait("served", "ready", backend.want("served", bundle))
    file = host.folder / "services.d" / f"{key}.conf"
    file.write_text(file.read_text().replace(sys.executable, "/moved/python"))
    host.kill_host()  # it would start again what is stopped here
    _forget(host, key)
    host.supervisor.add(key)  # as a supervisord started anew knows it
    host.start_host()
    until(lambda: _answers(report), "the service answers")
    assert "/moved/python" not in file.read_text()
    backend.wait("served", "deleted", backend.want("served", desired="deleted"))


def test_a_service_serves_again_under_a_supervisord_that_was_told_nothing_of_it(
    host: Machine, bundle: Bundle
) -> None:
    backend, key = host.backend, "colours.again"
    report = backend.wait("again", "ready", backend.want("again", bundle))
    host.kill_host()
    (host.folder / "services.d" / f"{key}.conf").unlink()  # as `up` does before it starts supervisord
    _forget(host, key)
    host.start_host()
    until(lambda: _answers(report), "the service answers")
    backend.wait("again", "deleted", backend.want("again", desired="deleted"))


def _forget(host: Machine, key: str) -> None:
    def forgotten() -> bool:
        for number in (*slot.SERVERS, slot.KEEPER):
            host.supervisor.stop(key, number)
        try:
            host.supervisor.remove(key)
        except SupervisorError:  # some of it still runs
            return False
        return True

    until(forgotten, "the group is forgotten")


def _answers(report: dict[str, Any]) -> bool:
    try:
        return labels(predict(report).json())[0] == "red@1"
    except httpx.ConnectError:
        return False


def test_two_services_of_one_name_do_not_meet(host: Machine, bundle: Bundle, second_bundle: Bundle) -> None:
    backend = host.backend
    revisions = {"left": backend.want("left", bundle), "right": backend.want("right", second_bundle)}
    left, right = (backend.wait(name, "ready", revision) for name, revision in revisions.items())
    assert labels(predict(left).json())[0] == "red@1"
    assert labels(predict(right).json())[0] == "red@2"
    backend.forget("left")
    until(lambda: not (host.folder / "services" / "colours.left").exists(), "the forgotten service is gone")
    assert predict(right).status_code == 200
    backend.wait("right", "deleted", backend.want("right", desired="deleted"))


@pytest.fixture(scope="module")
def shared(host: Machine, bundle: Bundle) -> dict[str, Any]:
    """The report of a service that all tests below use, and leave ready with the first model."""
    return host.backend.wait("shared", "ready", host.backend.want("shared", bundle))


def test_the_log_is_told_to_the_backend_and_to_nobody_else(host: Machine, shared: dict[str, Any]) -> None:
    backend, first = host.backend, host.backend.services["shared"]["tokens"]
    own, kept = auth.new_token("0")
    token = {"id": kept.id, "sha256": kept.sha256, "signing_key": kept.signing_key}
    backend.want("shared", tokens=[*first, token])
    address = urljoin(shared["endpoint"], "/log")

    def lines() -> list[str]:
        answer = httpx.get(address, headers={"Authorization": own}, trust_env=False)
        return list(answer.json().get("lines", ()))

    found = until(lines, "the backend's token is known")
    assert any("model loaded" in line for line in found)
    for header in (TOKEN, "", "Bearer wrong"):
        assert httpx.get(address, headers={"Authorization": header}, trust_env=False).status_code == 401
    backend.want("shared", tokens=first)


def test_tokens_change_while_the_processes_stay(host: Machine, shared: dict[str, Any]) -> None:
    backend, report = host.backend, shared
    before, first = host.slot_pids("colours.shared"), backend.services["shared"]["tokens"]
    new, kept = auth.new_token("new")
    token = {"id": kept.id, "sha256": kept.sha256, "signing_key": kept.signing_key}
    backend.want("shared", tokens=[token])
    until(lambda: predict(report).status_code == 401, "the old token is refused")
    assert httpx.post(report["endpoint"], headers={"Authorization": new}, trust_env=False).status_code == 400
    backend.wait("shared", "ready", backend.want("shared", tokens=first))
    until(lambda: predict(report).status_code == 200, "the first token is accepted again")
    assert host.slot_pids("colours.shared") == before


def test_a_bundle_that_was_tampered_with_is_refused(host: Machine, tmp_path: Path, hold: Path) -> None:
    backend = host.backend
    made = make_bundle(tmp_path / "bundle", hold, version=7)
    wrong = make_bundle(tmp_path / "other", hold, version=8)
    bundles.pack(wrong, backend.folder / f"{made.manifest.digest}.zip")
    report = backend.wait("tampered", "failed", backend.want("tampered", made))
    assert "not" in report["message"] and made.manifest.digest[:12] in report["message"]
    (backend.folder / f"{made.manifest.digest}.zip").write_bytes(b"no archive")
    report = backend.wait("tampered", "failed", backend.want("tampered"))
    assert "not a readable zip archive" in report["message"]
    assert not (host.folder / "bundles" / made.manifest.digest).exists()
    backend.offer(made)
    backend.wait("tampered", "ready", backend.want("tampered"))
    backend.wait("tampered", "deleted", backend.want("tampered", desired="deleted"))


def test_a_model_that_cannot_start_fails_with_its_reason_and_the_one_before_goes_on(
    host: Machine, shared: dict[str, Any], bundle: Bundle, tmp_path: Path, hold: Path
) -> None:
    backend = host.backend
    broken = make_bundle(tmp_path / "bundle", hold, version=9, cannot_open="the weights are from the future")
    backend.offer(broken)
    fresh, changed = backend.want("fresh", broken), backend.want("shared", broken)
    report = backend.wait("fresh", "failed", fresh)
    assert "the weights are from the future" in report["message"]
    assert report["ready_instances"] == 0
    until(lambda: keeper_of(host, "colours.fresh")["statename"] == "STOPPED", "clients are refused")
    started = keeper_of(host, "colours.fresh")["start"]
    report = backend.wait("shared", "failed", changed)
    assert "the weights are from the future" in report["message"]
    assert report["ready_instances"] == 1
    assert labels(predict(shared).json())[0] == "red@1"
    backend.wait("shared", "ready", backend.want("shared", bundle))
    assert keeper_of(host, "colours.fresh")["start"] == started  # and go on being refused
    backend.wait("fresh", "deleted", backend.want("fresh", desired="deleted"))


def keeper_of(host: Machine, key: str) -> dict[str, Any]:
    """What supervisord knows of the process that holds a service's socket."""
    found: dict[str, Any] = host.supervisor._call("getProcessInfo", f"{key}:{slot.KEEPER}")
    return found


@pytest.mark.parametrize("who", ["instance", "master"])
def test_a_killed_process_comes_back(host: Machine, shared: dict[str, Any], who: str) -> None:
    (instance,) = host.slot_pids("colours.shared")
    os.kill(instance if who == "instance" else psutil.Process(instance).ppid(), signal.SIGKILL)
    until(lambda: host.slot_pids("colours.shared") - {instance}, "a new instance answers")
    until(lambda: host.backend.last("shared")["state"] == "ready", "it is ready for the backend, too")
    assert labels(predict(shared).json())[0] == "red@1"


def test_services_go_on_while_the_host_and_the_backend_are_away(
    host: Machine, shared: dict[str, Any], bundle: Bundle, second_bundle: Bundle
) -> None:
    backend, before = host.backend, host.slot_pids("colours.shared")
    host.kill_host()
    assert labels(predict(shared).json())[0] == "red@1"
    revision = backend.want("shared", rate_limit=500)
    host.start_host()
    backend.wait("shared", "ready", revision)
    assert host.slot_pids("colours.shared") == before
    with backend.away():
        assert predict(shared).status_code == 200
        revision = backend.want("shared", second_bundle)
    backend.wait("shared", "ready", revision)
    assert labels(predict(shared).json())[0] == "red@2"
    backend.wait("shared", "ready", backend.want("shared", bundle))


def test_a_bundle_that_changed_on_disk_is_fetched_again(
    host: Machine, shared: dict[str, Any], bundle: Bundle
) -> None:
    backend = host.backend
    backend.wait("shared", "stopped", backend.want("shared", desired="stopped"))
    model = host.folder / "bundles" / bundle.manifest.digest / "model.onnx"
    model.write_bytes(b"something else")
    backend.wait("shared", "ready", backend.want("shared", desired="running"))
    assert model.read_bytes() == (bundle.folder / "model.onnx").read_bytes()
    assert predict(shared).status_code == 200


def test_a_port_that_is_taken_and_a_wrong_assignment_are_reported(host: Machine, bundle: Bundle) -> None:
    backend = host.backend
    report = backend.wait("taken", "failed", backend.want("taken", bundle, port=backend.port))
    assert f"port {backend.port} is taken" in report["message"]
    report = backend.wait("wrong", "failed", backend.want("wrong", bundle, instances=0))
    assert "instances must be" in report["message"]
    report = backend.wait("misnamed", "failed", backend.want("misnamed", bundle, name="../../etc"))
    assert "characters" in report["message"]
    backend.forget("misnamed")
    for name in ("taken", "wrong"):
        backend.wait(name, "deleted", backend.want(name, desired="deleted"))


def test_a_service_whose_port_was_taken_while_it_stood_still_names_the_port(
    host: Machine, bundle: Bundle
) -> None:
    backend = host.backend
    port = backend.wait("late", "ready", backend.want("late", bundle))["port"]
    backend.wait("late", "stopped", backend.want("late", desired="stopped"))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        report = backend.wait("late", "failed", backend.want("late", desired="running"))
        assert f"port {port} of 127.0.0.1 is taken" in report["message"]
    backend.wait("late", "ready", backend.want("late", desired="running"))
    backend.wait("late", "deleted", backend.want("late", desired="deleted"))


def test_an_assignment_that_cannot_be_read_leaves_the_service_as_it_is(
    host: Machine, shared: dict[str, Any]
) -> None:
    backend, before = host.backend, host.slot_pids("colours.shared")
    digest = backend.services["shared"]["digest"]
    backend.wait("shared", "failed", backend.want("shared", digest="nonsense"))
    assert predict(shared).status_code == 200
    backend.wait("shared", "ready", backend.want("shared", digest=digest))
    assert host.slot_pids("colours.shared") == before


def test_secrets_are_not_readable_by_others_and_not_passed_on(host: Machine, shared: dict[str, Any]) -> None:
    folder = host.folder / "services" / "colours.shared"
    for path in (folder / "record.json", slot.config_file(folder, 0)):
        assert path.stat().st_mode & 0o077 == 0
    (pid,) = host.slot_pids("colours.shared")
    assert b"host-token" not in Path(f"/proc/{pid}/environ").read_bytes()
