"""What all commands share: the root, --json and --data-dir, and the one place where errors are said."""

from __future__ import annotations

import errno
import importlib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backend import settings
from backend.errors import AppError
from backend.settings import Settings, SettingsError
from backend.version import VERSION

if TYPE_CHECKING:
    from backend.cli.client import Client
    from backend.cli.credentials import Tokens
    from backend.cli.embedded.home import Home

# Each is imported when it is called, so that `--help` and `up` do not wait for what they do not need.
_MODULES = {
    "up": "stack",
    "down": "stack",
    "status": "stack",
    "doctor": "stack",
    "upload": "upload",
    "datasets": "datasets",
    "train": "tasks",
    "tasks": "tasks",
    "models": "models",
    "deploy": "services",
    "services": "services",
    "predict": "predict",
    "worker": "worker",
    "storage": "storage",
    "tokens": "tokens",
    "users": "users",
    "workspaces": "workspaces",
}


@dataclass
class Shell:
    """What the options before and after the noun say."""

    data_dir: str = ""
    json: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings of this process. Raises `SettingsError`."""
        environ = dict(os.environ)
        if self.data_dir:
            environ["SIGHTLOOP_DATA_DIR"] = self.data_dir
        return settings.load(environ)

    @cached_property
    def home(self) -> Home:
        """The data directory of the stack that is meant."""
        from backend.cli.embedded.home import Home  # noqa: PLC0415 - see _MODULES

        return Home(self.settings.data_dir.resolve())

    @cached_property
    def tokens(self) -> Tokens:
        """The tokens of services that are kept on this machine."""
        from backend.cli.credentials import tokens_of  # noqa: PLC0415 - see _MODULES

        return tokens_of(self.home, self.settings.api_url)

    @cached_property
    def client(self) -> Client:
        """A client of the stack's REST API, closed when the command ends."""
        from backend.cli.client import connect  # noqa: PLC0415 - see _MODULES

        client = connect(self.settings, self.home)
        click.get_current_context().find_root().call_on_close(client.http.close)
        return client


pass_shell = click.make_pass_decorator(Shell, ensure=True)


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Shell).json = True


def _set_data_dir(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.ensure_object(Shell).data_dir = value


def _data_dir_option() -> click.Option:
    return click.Option(
        ["--data-dir"],
        metavar="DIR",
        help="Data directory of the stack that is meant (default: SIGHTLOOP_DATA_DIR or ~/.sightloop).",
        callback=_set_data_dir,
        expose_value=False,
        is_eager=True,
    )


class Verb(click.Command):
    """A command with --json and --data-dir, whose help ends with an example."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.epilog = "\b\nExample:\n" + "\n".join(f"  {line}" for line in example.splitlines())
        as_json = click.Option(
            ["--json"],
            is_flag=True,
            help="Print JSON for programs.",
            callback=_set_json,
            expose_value=False,
            is_eager=True,
        )
        self.params += [as_json, _data_dir_option()]


class Noun(click.Group):
    """A group of verbs whose help ends with an example."""

    def __init__(self, *args: Any, example: str, **options: Any) -> None:
        super().__init__(*args, **options)
        self.epilog = f"\b\nExample:\n  {example}"
        self.params += [_data_dir_option()]


class _Root(click.Group):
    """Loads a noun's module when it is called, and says every error once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The order of the manual, not of the alphabet."""
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module. A command `x-y` is the function `x_y`."""
        module = _MODULES.get(cmd_name)
        if module is None:
            return None
        found: click.Command = getattr(importlib.import_module(f"backend.cli.{module}"), cmd_name)
        return found

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what it raises becomes one sentence on stderr and exit code 1."""
        try:
            return super().invoke(ctx)
        except (AppError, SettingsError) as error:
            code = getattr(error, "answer_code", "") or getattr(error, "code", "settings")
            said = str(error)
        except OSError as error:
            if error.errno == errno.EPIPE or not error.strerror:
                raise  # click ends quietly when nobody reads any more
            where = f"{error.filename}: " if error.filename else ""
            said, code = f"{where}{error.strerror}", "bad_input"
        complain(ctx.ensure_object(Shell), said, code)
        return ctx.exit(1)


def complain(shell: Shell, message: str, code: str) -> None:
    """Say an error on stderr, as a sentence or as JSON."""
    if shell.json:
        click.echo(json.dumps({"error": {"code": code, "detail": message}}, ensure_ascii=False), err=True)
    else:
        click.echo(f"Error: {message}", err=True)


def answer(value: Any) -> None:
    """Print a value as JSON on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="sightloop")
@click.pass_context
def main(context: click.Context) -> None:
    """Turn a bucket of images into a deployed vision model, on your own machines."""
    context.ensure_object(Shell)


main.params.append(_data_dir_option())
main.epilog = "\b\nExample:\n  sightloop up && sightloop status"


def expand(path: str) -> Path:
    """A path as the user means it."""
    return Path(path).expanduser()
