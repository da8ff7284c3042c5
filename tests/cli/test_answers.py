"""What the commands say to answers of the API that a real one gives only rarely."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backend.cli import main
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
