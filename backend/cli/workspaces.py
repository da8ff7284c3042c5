"""`sightloop workspaces …`: tenants of one install, each with its own members, stores and the rest."""

from __future__ import annotations

import click

from backend.cli import show
from backend.cli.frame import Noun, Shell, Verb, pass_shell


@click.group(cls=Noun, example="sightloop workspaces create second")
def workspaces() -> None:
    """Workspaces; owners of the first one make others."""


@workspaces.command("list", cls=Verb, example="sightloop workspaces list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the workspaces; who is no owner of the first one sees their own."""
    rows = shell.client.get("/workspaces")["items"]
    show.listing(shell, rows, ("name", "created_at"), "There are no workspaces.")


@workspaces.command(cls=Verb, example="sightloop workspaces create second")
@click.argument("name")
@pass_shell
def create(shell: Shell, name: str) -> None:
    """Create a workspace; its first API token is shown this once.

    With the token in SIGHTLOOP_API_TOKEN, `sightloop users add NAME --role owner` brings its people in.
    """
    made = shell.client.post("/workspaces", {"name": name})
    show.done(shell, made, f"Workspace {name}; its owner's token, shown this once: {made['token']}")
