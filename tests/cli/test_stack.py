"""The embedded stack as it runs: what `up` answers, supervision, privacy."""

from __future__ import annotations

import json
import os
import signal
import stat
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from backend.cli.embedded.home import Home
from backend.cli.embedded.programs import NAMES
from backend.cli.embedded.supervision import survivors
from backend.storage import ObjectStore, StoreAddress
from tests.cli.program import Stack, eventually, sightloop

CONTENT = b"not for everybody"


def test_up_answers_with_where_everything_is(stack: Stack) -> None:
    up = stack.json("up")
    base = f"http://127.0.0.1:{stack.port}"
    assert (up["console"], up["api"], up["label_studio"]) == (base, f"{base}/api/v1", None)
    assert (up["state"], up["data_dir"]) == ("running", str(stack.data_dir))
    assert httpx.get(f"{base}/health/ready").status_code == 200
    store = ObjectStore(StoreAddress(up["s3"]["endpoint"], up["s3"]["access_key"], up["s3"]["secret_key"]))
    store.ensure_bucket("where")
    store.put_bytes("where", "a", b"1")
    assert store.read("where", "a", 10) == b"1"
    store.close()


def test_up_on_a_running_stack_changes_nothing(stack: Stack) -> None:
    before = {name: program["pid"] for name, program in stack.programs().items()}
    assert "running already" in stack.run("up")
    assert {name: program["pid"] for name, program in stack.programs().items()} == before


def test_up_with_another_port_on_a_running_stack_says_what_to_do(stack: Stack) -> None:
    assert "sightloop down" in stack.run("up", "--port", str(stack.port + 100), code=1)


def test_status_shows_every_program(stack: Stack) -> None:
    status = stack.json("status")
    assert status["state"] == "running"
    programs = {program["name"]: program for program in status["programs"]}
    assert set(programs) == set(NAMES) - {"api-https", "label-studio", "ml-backend"}
    for name in set(NAMES) - {"api-https", "label-studio", "ml-backend"}:
        assert programs[name]["state"] == "running"
        assert programs[name]["pid"] > 0 and programs[name]["memory"] > 0 and programs[name]["uptime"] >= 0
    text = stack.run("status")
    assert all(name in text for name in programs)


def test_doctor_finds_a_running_stack_well(stack: Stack) -> None:
    checks = {check["name"]: check for check in stack.json("doctor")["checks"]}
    for name in ("python", "programs", "data directory", "clock", "ports", "address", "plugins", "stack"):
        assert checks[name]["verdict"] == "ok", checks[name]
    for name in ("queue", "store", "api", "workers", "model host", "label studio"):
        assert checks[name]["verdict"] == "ok", checks[name]


def test_doctor_names_a_file_that_others_can_read(stack: Stack) -> None:
    secret = stack.data_dir / "secrets" / "secret-key"
    secret.chmod(0o644)
    try:
        done = sightloop("--data-dir", str(stack.data_dir), "doctor")
        assert done.returncode == 1
        assert f"{secret} can be read by others" in done.stdout and "chmod go-rwx" in done.stdout
    finally:
        secret.chmod(0o600)


def _answers(stack: Stack) -> bool | None:
    """All programs run and the API, with the queue and the database behind it, is ready."""
    if any(program["state"] != "running" for program in stack.programs().values()):
        return None
    try:
        return httpx.get(f"http://127.0.0.1:{stack.port}/health/ready").is_success or None
    except httpx.HTTPError:
        return None


@pytest.mark.parametrize("name", ["valkey", "store", "api", "worker-data", "host"])
def test_a_killed_program_comes_back(stack: Stack, name: str) -> None:
    before = stack.programs()[name]["pid"]
    os.kill(before, signal.SIGKILL)

    def another() -> int | None:
        program = stack.programs()[name]
        return program["pid"] if program["state"] == "running" and program["pid"] != before else None

    assert eventually(another) != before
    assert eventually(lambda: _answers(stack))
    stack.run("up")


def test_only_the_owner_can_read_the_data_directory(stack: Stack) -> None:
    assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
    private = [stack.data_dir / "supervisord.conf", stack.data_dir / "valkey" / "valkey.conf"]
    private += [*(stack.data_dir / "secrets").iterdir(), stack.data_dir / "store" / "s3.json"]
    private += [stack.data_dir / "sightloop.db", stack.data_dir / "run" / "supervisor.sock"]
    for path in private:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_secret_is_on_a_command_line_or_in_a_log(stack: Stack) -> None:
    secrets = {path.name: path.read_text().strip() for path in (stack.data_dir / "secrets").iterdir()}
    lines = [" ".join(process.cmdline()) for process in survivors(Home(stack.data_dir))]
    assert len(lines) >= len(NAMES)
    logs = [path.read_text(errors="replace") for path in (stack.data_dir / "logs").iterdir()]
    for name, secret in secrets.items():
        assert not any(secret in line for line in lines), name
        assert not any(secret in log for log in logs), name


def test_the_model_host_knows_no_secret_but_its_own(stack: Stack) -> None:
    environment = psutil.Process(stack.programs()["host"]["pid"]).environ()
    for path in (stack.data_dir / "secrets").iterdir():
        known = path.read_text().strip() in environment.values()
        assert known == (path.name == "host-token"), path.name


def test_everything_listens_on_loopback_only(stack: Stack) -> None:
    mine = {process.pid for process in survivors(Home(stack.data_dir))}
    listening: list[Any] = psutil.net_connections("tcp")
    found = [c.laddr for c in listening if c.pid in mine and c.status == psutil.CONN_LISTEN]
    assert len(found) >= 10
    assert {address.ip for address in found} == {"127.0.0.1"}
    assert all(stack.port <= address.port < stack.port + 100 for address in found)


@pytest.mark.parametrize("port", [1, 3, 4, 5])
def test_the_stores_inner_servers_want_a_key(stack: Stack, port: int) -> None:
    """Nobody on this machine reads or writes images past the S3 keys."""
    stack.run("upload", str(_one_file(stack)), "s3://private/x")
    paths = {1: "/private/x/one.jpg", 3: "/dir/assign", 4: "/1,01637037d6", 5: "/buckets/private/x/one.jpg"}
    answer = httpx.get(f"http://127.0.0.1:{stack.port + port}{paths[port]}")
    if port == 3:  # it tells where a new file would lie, and the volume server wants a signature to write it
        place = answer.json()
        url = f"http://{place['url']}/{place['fid']}"
        assert httpx.post(url, files={"file": b"x"}).status_code in (401, 403)
    else:
        assert answer.status_code in (401, 403, 404), answer.text
        assert CONTENT not in answer.content


def _one_file(stack: Stack) -> Path:
    folder = stack.data_dir.parent / "one"
    folder.mkdir(exist_ok=True)
    (folder / "one.jpg").write_bytes(CONTENT)
    return folder


def test_a_second_stack_on_the_same_port_is_told_whose_it_is(stack: Stack, folder: Path) -> None:
    said = Stack(folder, stack.port).run("up", "--port", str(stack.port), "--json", code=1)
    error: dict[str, Any] = json.loads(said)["error"]
    assert error["code"] == "port_taken"
    assert f"port {stack.port} is taken by the Sightloop stack of {stack.data_dir}" in error["detail"]
    assert "--port" in error["detail"]
