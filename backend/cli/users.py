"""`sightloop users …`: the members of the workspace and their passwords."""

from __future__ import annotations

import click

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.frame import Noun, Shell, Verb, pass_shell

_ROLES = click.Choice(["viewer", "editor", "owner"])


@click.group(cls=Noun, example="sightloop users add ann@example.org --role editor")
def users() -> None:
    """People who sign in to the console, as members of the workspace of your API token."""


@users.command("list", cls=Verb, example="sightloop users list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the members with their roles."""
    columns = ("name", "state", "role", "created_at")
    show.listing(shell, shell.client.items("/members"), columns, "There are no members.")


@users.command(cls=Verb, example="sightloop users add ann@example.org --role editor")
@click.argument("name")
@click.option(
    "--role",
    type=_ROLES,
    default="editor",
    show_default=True,
    help="viewer looks and predicts, owner does all.",
)
@pass_shell
def add(shell: Shell, name: str, role: str) -> None:
    """Add a member.

    Who has no account gets one, with a one-time password that is shown this once.
    """
    made = shell.client.post("/members", {"name": name, "role": role})
    _done(shell, made, f"{made['name']} is a member now, with the role {made['role']}.")


@users.command("role", cls=Verb, example="sightloop users role ann@example.org viewer")
@click.argument("name")
@click.argument("role", type=_ROLES)
@pass_shell
def role_(shell: Shell, name: str, role: str) -> None:
    """Give a member another role."""
    made = shell.client.patch(named("members", name), {"role": role})
    show.done(shell, made, f"{made['name']} has the role {made['role']} now.")


@users.command(cls=Verb, example="sightloop users reset-password admin")
@click.argument("name")
@pass_shell
def reset_password(shell: Shell, name: str) -> None:
    """Give a member a one-time password; the member's sessions end."""
    made = shell.client.post(f"{named('members', name)}/password")
    _done(shell, made, f"The sessions of {made['name']} have ended.")


@users.command(cls=Verb, example="sightloop users remove ann@example.org")
@click.argument("name")
@pass_shell
def remove(shell: Shell, name: str) -> None:
    """Remove a member, and an account that is a member nowhere else."""
    shell.client.delete(named("members", name))
    show.done(shell, {"name": name, "state": "removed"}, f"{name} is no member any more.")


def _done(shell: Shell, made: Resource, sentence: str) -> None:
    if made["password"]:
        sentence += f"\nOne-time password, shown this once and valid for 7 days: {made['password']}"
    show.done(shell, made, sentence)
