"""What the commands say to answers of the API that a real one gives only rarely."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backend.cli import main
from backend.cli.client import Resource, connect
from backend.cli.credentials import tokens_of
from backend.cli.embedded.home import Choices, Home
from backend.cli.errors import Unreachable
from backend.settings import Settings
from tests.cli.answering import NOT_FOUND, Answer, answering, resource


def ask(address: str, home: Path, *arguments: str) -> Result:
    """A command of a user whose API is there."""
    environ = {"SIGHTLOOP_API_URL": address, "SIGHTLOOP_API_TOKEN": "t", "SIGHTLOOP_DATA_DIR": str(home)}
    return CliRunner().invoke(main, arguments, env=environ)


@pytest.mark.parametrize(
    ("state", "model", "sentence"),
    [
        ("stopped", resource({"name": "parts-1"}), "is stopped; model parts-1 is kept."),
        ("stopped", NOT_FOUND, "is stopped; there was no model yet."),
        ("stopping", NOT_FOUND, "is stopping; the best model so far is kept, if there is one yet."),
        ("queued", NOT_FOUND, "is queued; the next free worker makes a model of what it has learned."),
    ],
)
def test_a_stop_says_what_becomes_of_what_was_learned(
    folder: Path, state: str, model: Answer, sentence: str
) -> None:
    task = resource({"name": "parts-1", "state": state, "error": "", "error_code": ""})
    with answering({"POST /training-tasks/parts-1/stop": task, "GET /models/parts-1": model}) as address:
        said = ask(address, folder, "tasks", "stop", "parts-1")
        discarded = ask(address, folder, "tasks", "stop", "parts-1", "--discard")
    assert said.stdout == f"Task parts-1 {sentence}\n"
    assert discarded.stdout == f"Task parts-1 is {state}; nothing is kept.\n"


def service_of(token: str) -> dict[str, Answer]:
    made = {"name": "parts", "state": "Running", "message": "", "endpoint": "http://h/p", "id": 1}
    return {
        "POST /services": resource({**made, "token": token}),
        "POST /services/parts/tokens": resource({**made, "token": token}),
    }


@pytest.mark.parametrize("trouble", ["not writable", "damaged"])
@pytest.mark.parametrize(
    "command", [("deploy", "parts", "--model", "m"), ("services", "tokens", "parts", "create")]
)
def test_a_token_that_cannot_be_kept_is_shown_all_the_same(
    folder: Path, trouble: str, command: tuple[str, ...]
) -> None:
    folder.mkdir(parents=True)
    (folder / "tokens.json").write_text("{")
    home = folder if trouble == "damaged" else Path("/proc/nowhere")
    with answering(service_of("the-token")) as address:
        result = ask(address, home, *command, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["token"] == "the-token"
    assert "the-token" in result.stderr and result.stderr.count("\n") == 1


def test_two_stacks_with_services_of_one_name_keep_their_tokens_apart(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "tokens.json").write_text('{"older": "kept before"}')
    with answering(service_of("first")) as one, answering(service_of("second")) as other:
        for address in (one, other):
            ask(address, folder, "services", "tokens", "parts", "create")
    home = Home(folder)
    assert [tokens_of(home, address).get("parts") for address in (one, other, "")] == [
        "first",
        "second",
        None,
    ]
    assert tokens_of(home, one).get("older") == tokens_of(home, "").get("older") == "kept before"
    tokens_of(home, one).forget("parts")
    assert [tokens_of(home, address).get("parts") for address in (one, other)] == [None, "second"]


def test_the_stack_of_the_data_directory_is_one_by_whichever_way_it_is_named(folder: Path) -> None:
    folder.mkdir(parents=True)
    home = Home(folder)
    home.choose(Choices(8711, "127.0.0.1"))
    tokens_of(home, "http://127.0.0.1:8711").keep("parts", "t")
    assert tokens_of(home, "").get("parts") == "t"


HTML = Answer(200, b"<html>hello</html>", {"Content-Type": "text/html"})
TEXT = Answer(200, b"[]", {"Content-Type": "text/plain"})
ELSEWHERE = Answer(301, headers={"Location": "https://sightloop.example/"})


@pytest.mark.parametrize(
    "answer, sentence",
    [
        (HTML, "with a web page"),
        (TEXT, "does not answer as one"),
        (ELSEWHERE, "to https://sightloop.example/"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ("datasets", "list"),
        ("tasks", "stop", "parts"),
        ("datasets", "doubts", "parts"),
    ],
)
def test_what_is_no_api_is_said_to_be_none(
    folder: Path, answer: Answer, sentence: str, command: tuple[str, ...]
) -> None:
    with answering({}, otherwise=answer) as address:
        result = ask(address, folder, *command, "--json")
    assert result.exit_code == 1
    error = json.loads(result.stderr)["error"]
    assert error["code"] == "unreachable" and sentence in error["detail"] and address in error["detail"]


@pytest.mark.parametrize("answer", [HTML, ELSEWHERE])
def test_what_is_no_api_leaves_no_file(folder: Path, tmp_path: Path, answer: Answer) -> None:
    command = ("datasets", "export", "parts", "--format", "csv", "--output", str(tmp_path))
    with answering({}, otherwise=answer) as address:
        result = ask(address, folder, *command)
    assert result.exit_code == 1 and "no REST API of Sightloop" in result.stderr
    assert os.listdir(tmp_path) == []


def test_an_outage_while_a_task_is_watched_is_borne(folder: Path) -> None:
    """Also one that begins between the task and its metrics."""
    task = {"name": "parts", "state": "stopped", "note": "", "steps": [], "error": "", "error_code": ""}
    asked: list[int] = []

    def watch(_: Resource) -> None:
        asked.append(1)
        if len(asked) == 1:
            raise Unreachable("the API broke off")

    with answering({"GET /training-tasks/parts": resource(task)}) as address:
        client = connect(Settings(api_url=address, api_token="t"), Home(folder))
        found = client.wait("/training-tasks/parts", done=lambda _: True, watch=watch, pause=0)
        client.http.close()
    assert found == task and len(asked) == 2


def test_a_file_that_cannot_be_written_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = ask(
        "http://127.0.0.1:1",
        folder,
        "datasets",
        "export",
        "p",
        "--format",
        "csv",
        "--output",
        str(tmp_path / "taken" / "x"),
    )
    assert result.exit_code == 1
    assert result.stderr == f"Error: {tmp_path / 'taken' / 'x'}: Not a directory\n"
