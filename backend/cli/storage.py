"""`sightloop storage …`: connections to S3-compatible stores."""

from __future__ import annotations

from typing import Any

import click

from backend.cli import show
from backend.cli.client import named
from backend.cli.frame import Noun, Shell, Verb, pass_shell

_NOUN = "storage-connections"
_COLUMNS = ("name", "endpoint", "public_endpoint", "region", "addressing", "access_key", "created_at")
_CREATE = "sightloop storage create minio --endpoint https://minio.example.org --access-key KEY"


@click.group(cls=Noun, example=_CREATE)
def storage() -> None:
    """Connections to S3-compatible stores."""


@storage.command(cls=Verb, example=_CREATE)
@click.argument("name")
@click.option("--endpoint", required=True, help="Address of the store, with http:// or https://.")
@click.option("--access-key", default="", help="Access key.")
@click.option(
    "--secret-key",
    help="Secret key; asked for when it is left out, so that it need not stand on the command line.",
)
@click.option("--region", default="us-east-1", show_default=True, help="Region.")
@click.option(
    "--addressing",
    type=click.Choice(["auto", "path", "virtual"]),
    default="auto",
    show_default=True,
    help="Where the bucket's name stands: in the path, or before the host as OSS wants it.",
)
@click.option(
    "--public-endpoint", default="", help="Address of the store as clients see it, when it differs."
)
@pass_shell
def create(shell: Shell, /, name: str, secret_key: str | None, access_key: str, **given: Any) -> None:
    """Create a storage connection; it is tested first."""
    if access_key and secret_key is None:
        secret_key = click.prompt("Secret key", hide_input=True, err=True)
    body = {"name": name, "access_key": access_key, "secret_key": secret_key or "", **given}
    made = shell.client.post("/storage-connections", body)
    show.done(shell, made, f"Storage connection {name} works and is saved.")


@storage.command("list", cls=Verb, example="sightloop storage list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the storage connections."""
    items = shell.client.items("/storage-connections")
    show.listing(shell, items, _COLUMNS, "There are no storage connections yet.")


@storage.command("show", cls=Verb, example="sightloop storage show default")
@click.argument("name")
@pass_shell
def show_(shell: Shell, name: str) -> None:
    """Show a storage connection, without its secret key."""
    show.fields(shell, shell.client.get(named(_NOUN, name)), _COLUMNS)


@storage.command(cls=Verb, example="sightloop storage test default")
@click.argument("name")
@pass_shell
def test(shell: Shell, name: str) -> None:
    """Ask the store with the saved credentials."""
    found = shell.client.post(f"{named(_NOUN, name)}/test")
    show.done(shell, {**found, "state": "works"}, f"Storage connection {name} works.")


@storage.command(cls=Verb, example="sightloop storage update minio --access-key KEY")
@click.argument("name")
@click.option("--access-key", required=True, help="The new access key.")
@click.option("--secret-key", help="Its secret key; asked for when it is left out.")
@pass_shell
def update(shell: Shell, name: str, access_key: str, secret_key: str | None) -> None:
    """Change the credentials; they are tested first."""
    if access_key and secret_key is None:
        secret_key = click.prompt("Secret key", hide_input=True, err=True)
    body = {"access_key": access_key, "secret_key": secret_key or ""}
    changed = shell.client.patch(named(_NOUN, name), body)
    show.done(shell, changed, f"Storage connection {name} works with its new credentials.")


@storage.command(cls=Verb, example="sightloop storage delete minio")
@click.argument("name")
@pass_shell
def delete(shell: Shell, name: str) -> None:
    """Delete a storage connection that no dataset uses."""
    shell.client.delete(named(_NOUN, name))
    show.done(shell, {"name": name, "state": "deleted"}, f"Storage connection {name} is deleted.")
