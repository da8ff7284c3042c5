"""What holds for every command: help with an example, --json, --data-dir, and the fixed names."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from backend.cli import main
from backend.cli.durations import Duration, spoken

# The names that scripts of users rely on.
FIXED = """
up; down; status; doctor; upload; train; deploy; predict; worker
datasets create; datasets list; datasets show; datasets sync; datasets check
tasks list; tasks show; tasks logs; tasks stop
models list; models show; models compare; models export
services list; services show; services update; services stop; services start; services delete; services tokens
storage create; storage list; storage show; storage delete; storage test
tokens list; tokens create; tokens revoke
users list; users add; users role; users reset-password; users remove
workspaces list; workspaces create
"""


def _commands() -> Iterator[tuple[str, click.Command]]:
    root = click.Context(main)
    for noun in main.list_commands(root):
        command = main.get_command(root, noun)
        assert command is not None
        yield noun, command
        if isinstance(command, click.Group):
            yield from ((f"{noun} {verb}", found) for verb, found in command.commands.items())


COMMANDS = dict(_commands())


@pytest.mark.parametrize(
    "name", [part.strip() for line in FIXED.split("\n") for part in line.split(";") if part]
)
def test_the_names_that_scripts_rely_on_are_there(name: str) -> None:
    assert name in COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_an_example_that_parses(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    example = result.stdout.partition("Example:")[2].strip()
    assert example.startswith("sightloop ")
    assert f"sightloop {name.split(maxsplit=1)[0]}" in example


@pytest.mark.parametrize(
    "name", [name for name, found in COMMANDS.items() if not isinstance(found, click.Group)]
)
def test_every_command_takes_json_and_a_data_directory(name: str) -> None:
    options = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {"--json", "--data-dir"} <= options


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("arguments", [["nonsense"], ["datasets", "nonsense"], ["train"], ["deploy", "x"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, arguments).exit_code == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h", 3600), ("1h30m", 5400), ("1h5s", 3605), ("45", 45), (" 2M ", 120)],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "m", "-5m", "5d", "1.5h", "5m1h", "ten"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="90s, 10m or 1h"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.25, "0.2 s"), (42, "42 s"), (134, "2 min 14 s"), (3725, "1 h 2 min")]
)
def test_a_duration_is_said(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
