"""The tokens of services that this machine was shown, so that `predict` needs none on the command line.

What the services of the data directory's own stack were given stands in the file by their names, what those
of another API were given below its address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import click

from backend.cli.embedded.home import Home, private_folder, write_private
from backend.cli.embedded.programs import api_url
from backend.cli.errors import BadInput, DataDirUnusable


@dataclass(frozen=True)
class Tokens:
    """Those of the services of one API; `address` is empty for the stack of the data directory."""

    home: Home
    address: str = ""

    def get(self, service: str) -> str | None:
        """The token of a service. Raises `BadInput` when the file cannot be read."""
        found = self._read()
        # Releases that knew one stack only kept all by name.
        token = self._mine(found).get(service) or found.get(service)
        return token if isinstance(token, str) else None

    def keep(self, service: str, token: str) -> None:
        """Remember the token of a service. Where that fails the user is told, with the token: it is shown
        this once.
        """
        try:
            found = self._read()
            self._write(found, {**self._mine(found), service: token})
        except (BadInput, DataDirUnusable, OSError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            click.echo(
                f"The token {token} of {service} is not kept in {self.home.path}, so note it down: {reason}",
                err=True,
            )

    def forget(self, service: str) -> None:
        """The service is gone; a token that stays is worth nothing."""
        try:
            found = self._read()
            mine = dict(self._mine(found))
            if mine.pop(service, None) is not None:
                self._write(found, mine)
        except (BadInput, DataDirUnusable, OSError):
            return

    def _read(self) -> dict[str, Any]:
        path = self.home.path / "tokens.json"
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise BadInput(
                f"{path} cannot be read ({type(error).__name__}); delete it and give the token with --token"
            ) from None
        return found if isinstance(found, dict) else {}

    def _mine(self, found: dict[str, Any]) -> dict[str, Any]:
        mine = found.get(self.address, {}) if self.address else found
        return mine if isinstance(mine, dict) else {}

    def _write(self, found: dict[str, Any], mine: dict[str, Any]) -> None:
        private_folder(self.home.path)
        everything = {**found, self.address: mine} if self.address else mine
        write_private(self.home.path / "tokens.json", json.dumps(everything, indent=2) + "\n")


def tokens_of(home: Home, address: str) -> Tokens:
    """Those of the API that the settings name; an empty address is the stack of the data directory."""
    if not address:
        return Tokens(home)
    try:
        choices = home.choices()
    except DataDirUnusable:
        choices = None
    return Tokens(home, "" if choices and address == api_url(choices) else address)
