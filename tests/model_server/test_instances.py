"""What happens to the processes: limits, death, reload and the end."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from model_server import config as configuration
from model_server import instance
from plugins.bundle import Bundle
from tests.model_server.bundles import body, labels, make_bundle, picture
from tests.model_server.servers import TOKEN, Server, running, service_config, until
from tests.model_server.test_errors import inside
from tests.model_server.tiny_plugin import DEADLY, HELD


class Traffic:
    """Clients that ask all the time and note every answer."""

    def __init__(self, url: str, clients: int = 3) -> None:
        self._url = url
        self.answers: list[tuple[int, str, str]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(clients)]

    def _ask(self, keep_alive: bool) -> None:
        headers = {"Authorization": TOKEN} | ({} if keep_alive else {"Connection": "close"})
        with httpx.Client(trust_env=False, timeout=30, headers=headers) as client:
            while not self._stop.wait(0.01):
                try:
                    answer = client.post(self._url, content=body(picture("red")))
                    values = answer.json()
                    label = labels(values)[0] if values["success"] else answer.text
                    self.answers.append((answer.status_code, values["model"], label))
                except httpx.HTTPError as error:
                    self.answers.append((0, "", repr(error)))

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def failures(self) -> list[tuple[int, str, str]]:
        return [answer for answer in self.answers if answer[0] != 200]

    def models(self) -> set[tuple[str, str]]:
        return {(model, label) for _, model, label in self.answers}

    def wait_for(self, model: str, count: int = 20) -> None:
        """Until that many more answers came from the model."""
        start = len(self.answers)
        until(lambda: sum(entry[1] == model for entry in self.answers[start:]) >= count, f"{model} answers")


def test_a_reload_under_traffic_drops_nothing(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle, second_bundle: Bundle
) -> None:
    with running(tmp_path, plugins_folder, bundle) as server:
        first = server.pids()
        with Traffic(f"{server.url}/api/predict/colours") as traffic:
            traffic.wait_for("colours1")
            changed = service_config(second_bundle, instances=2)
            configuration.write(server.path, changed)
            server.process.send_signal(signal.SIGHUP)
            until(lambda: server.ready() == 2 and not server.pids() & first, "two new instances answer")
            traffic.wait_for("colours2")
        assert traffic.failures() == []
        assert traffic.models() == {("colours1", "red@1"), ("colours2", "red@2")}


def test_an_instance_that_is_killed_comes_back(tmp_path: Path, plugins_folder: Path, bundle: Bundle) -> None:
    with running(tmp_path, plugins_folder, bundle, instances=2) as server:
        victim, *_ = first = server.pids()
        os.kill(victim, signal.SIGKILL)
        until(lambda: victim not in server.pids() and server.ready() == 2, "it comes back")
        assert len(first & server.pids()) == 1
        assert server.predict(body(picture("red"))).status_code == 200


def test_an_image_that_kills_an_instance_harms_no_later_one(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle
) -> None:
    with running(tmp_path, plugins_folder, bundle) as server:
        first = server.pids()
        with pytest.raises(httpx.HTTPError):
            server.predict(body(picture("red", (DEADLY, 9))))
        until(lambda: server.ready() == 1 and not first & server.pids(), "a new instance answers")
        assert server.predict(body(picture("red"))).status_code == 200


def test_an_instance_keeps_to_its_budget(tmp_path: Path, plugins_folder: Path, bundle: Bundle) -> None:
    with running(tmp_path, plugins_folder, bundle, instances=2, quota=1) as server:
        assert len(server.pids()) == 2
        for pid in server.pids():
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            data = next(line for line in limits if line.startswith("Max data size"))
            assert data.split()[3:5] == [str(4 * instance.GIB)] * 2
            names = Path(f"/proc/{pid}/environ").read_text().split("\0")
            assert not any(name.startswith("SIGHTLOOP_HOST") for name in names)


def test_the_model_has_as_many_threads_as_the_quota(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle
) -> None:
    threads = {}
    for quota in (1, 3):
        with running(tmp_path / str(quota), plugins_folder, bundle, quota=quota) as server:
            (pid,) = server.pids()
            threads[quota] = len(list(Path(f"/proc/{pid}/task").iterdir()))
    # ONNX Runtime computes on the thread that calls it and on quota - 1 of its own.
    assert threads[3] - threads[1] == 2


def test_the_end_waits_for_the_requests_that_were_accepted(
    tmp_path: Path, plugins_folder: Path, bundle: Bundle, hold: Path
) -> None:
    with running(tmp_path, plugins_folder, bundle) as server, ThreadPoolExecutor(2) as pool:
        hold.touch()
        try:
            working = pool.submit(server.predict, body(picture("red", (HELD, 9))))
            until(lambda: inside(server) == 1, "one works")
            waiting = pool.submit(server.predict, body(picture("green")))
            until(lambda: inside(server) == 2, "one waits")
            server.process.send_signal(signal.SIGTERM)
            until(lambda: "Handling signal: term" in server.log.read_text(), "the end has begun")
        finally:
            hold.unlink()
        assert labels(working.result().json())[0] == "red@1"
        assert labels(waiting.result().json())[0] == "green@1"
        assert server.stop() == 0
        assert server.ready() == 0


@pytest.mark.parametrize(
    "model, words",
    [
        ({"cannot_open": "the weights are from the future"}, "from the future"),
        ({"dies": True}, "died"),
        ({"red": 0.2}, "1.000 for a test image where 0.200 is right"),
    ],
    ids=["refuses", "dies", "answers otherwise"],
)
def test_a_model_that_cannot_start_ends_the_service_with_a_sentence(
    tmp_path: Path, plugins_folder: Path, hold: Path, model: dict[str, Any], words: str
) -> None:
    broken = make_bundle(tmp_path / "bundle", hold, **model)
    server = Server(tmp_path / "server", plugins_folder, broken)
    assert server.process.wait(60) == instance.BOOT_ERROR
    lines = [line for line in server.log.read_text().splitlines() if instance.CANNOT_START in line]
    assert lines and words in lines[-1]


def test_a_bundle_that_was_changed_is_not_served(tmp_path: Path, plugins_folder: Path, hold: Path) -> None:
    changed = make_bundle(tmp_path / "bundle", hold)
    (changed.folder / "model.onnx").write_bytes(b"something else")
    server = Server(tmp_path / "server", plugins_folder, changed)
    assert server.process.wait(60) == instance.BOOT_ERROR
    assert "model.onnx was changed" in server.log.read_text()


def test_a_plugin_that_is_not_there_is_named(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "none").mkdir()
    server = Server(tmp_path / "server", tmp_path / "none", bundle)
    assert server.process.wait(60) == instance.BOOT_ERROR
    assert "'tiny' is not installed here" in server.log.read_text()


def test_memory_does_not_grow_with_requests(server: Server) -> None:
    def used() -> int:
        return sum(
            int(line.split()[1])
            for pid in server.pids()
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )

    with server.client() as client:

        def ask(count: int) -> None:
            for _ in range(count):
                client.post("/api/predict/colours", content=body(picture("red", (300, 300))))

        ask(150)
        before = used()
        ask(450)
        assert used() - before < 8_000  # kB; a leak of one image a request would be over 100,000


def test_the_configuration_can_be_replaced_by_itself(server: Server) -> None:
    configuration.write(server.path, replace(server.config))
    assert server.predict(body(picture("red"))).status_code == 200
