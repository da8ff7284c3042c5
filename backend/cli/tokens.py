"""`sightloop tokens …`: API tokens."""

from __future__ import annotations

from typing import Any

import click

from backend.cli import show
from backend.cli.client import named
from backend.cli.frame import Noun, Shell, Verb, pass_shell


@click.group(cls=Noun, example="sightloop tokens create ci --expires-in-days 90")
def tokens() -> None:
    """Tokens of the REST API."""


@tokens.command("list", cls=Verb, example="sightloop tokens list")
@pass_shell
def list_(shell: Shell) -> None:
    """List your API tokens without their texts; as an owner, all of the workspace."""
    columns = ("name", "state", "role", "user", "created_at", "expires_at")
    show.listing(shell, shell.client.items("/tokens"), columns, "There are no tokens.")


@tokens.command(cls=Verb, example="sightloop tokens create ci --expires-in-days 90")
@click.argument("name")
@click.option("--expires-in-days", type=click.IntRange(1), help="Days of validity. [default: until revoked]")
@click.option(
    "--role", type=click.Choice(["viewer", "editor", "owner"]), help="What it may do. [default: what you may]"
)
@pass_shell
def create(shell: Shell, name: str, expires_in_days: int | None, role: str | None) -> None:
    """Create an API token; its text is shown this once."""
    body: dict[str, Any] = {"name": name}
    if expires_in_days:
        body["expires_in_days"] = expires_in_days
    if role:
        body["role"] = role
    made = shell.client.post("/tokens", body)
    show.done(shell, made, f"Token {name}, shown this once: {made['token']}")


@tokens.command(cls=Verb, example="sightloop tokens revoke ci")
@click.argument("name")
@pass_shell
def revoke(shell: Shell, name: str) -> None:
    """Revoke an API token; it stops working at once."""
    shell.client.delete(named("tokens", name))
    show.done(shell, {"name": name, "state": "revoked"}, f"Token {name} is revoked.")
