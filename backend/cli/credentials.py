"""The tokens of services that this machine was shown, so that `predict` needs none on the command line."""

from __future__ import annotations

import json

from backend.cli.embedded.home import Home, private_folder, write_private
from backend.cli.errors import BadInput


def kept(home: Home) -> dict[str, str]:
    """Token by service."""
    path = home.path / "tokens.json"
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{path} cannot be read ({type(error).__name__}); delete it and give the token with --token"
        ) from None
    return {str(name): str(token) for name, token in found.items()} if isinstance(found, dict) else {}


def keep(home: Home, service: str, token: str) -> None:
    """Remember the token of a service."""
    _write(home, {**kept(home), service: token})


def forget(home: Home, service: str) -> None:
    """The service is gone."""
    tokens = kept(home)
    if tokens.pop(service, None) is not None:
        _write(home, tokens)


def _write(home: Home, tokens: dict[str, str]) -> None:
    private_folder(home.path)
    write_private(home.path / "tokens.json", json.dumps(tokens, indent=2) + "\n")
