"""`sightloop deploy` and `sightloop services …`: deployed models, their instances and tokens."""

from __future__ import annotations

import time
from typing import Any

import click

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.errors import OperationFailed, Refused
from backend.cli.frame import Noun, Shell, Verb, answer, pass_shell

_NOUN = "services"
_SETTLED = frozenset({"Running", "Stopped", "Failed"})
_ENDPOINT_SECONDS = 15
_FIELDS = (
    *("name", "state", "message", "endpoint", "model", "instances", "ready_instances", "quota", "rate_limit"),
    *("created_at", "updated_at"),
)


@click.command(cls=Verb, example="sightloop deploy flowers --model flowers-1 --wait")
@click.argument("name")
@click.option("--model", required=True, help="Model to serve.")
@click.option("--instances", type=click.IntRange(1), default=1, show_default=True, help="Replicas.")
@click.option(
    "--quota",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Budget of an instance: each 1 CPU core and 4 GiB.",
)
@click.option(
    "--rate-limit", type=click.IntRange(0), default=0, help="Requests a second. [default: no limit]"
)
@click.option("--wait", is_flag=True, help="Wait until it is Running.")
@pass_shell
def deploy(shell: Shell, /, name: str, wait: bool, **wanted: Any) -> None:
    """Deploy a model as a service.

    Prints its endpoint and, this once, its token; `predict` on this machine remembers it.
    """
    made = shell.client.post("/services", {"name": name, **wanted})
    token = made["token"]
    shell.tokens.keep(name, token)
    with show.line(f"deploying {name}") as say:
        service = _settle(shell, name, say) if wait else _with_endpoint(shell, made)
    if shell.json:
        answer({**service, "token": token})
    else:
        click.echo(f"Service {name} is {service['state']}.")
        click.echo(f"  Endpoint  {service['endpoint'] or 'not known yet; see `sightloop services show`'}")
        click.echo(f"  Token     {token}")
        click.echo(f"Try it with `sightloop predict {name} IMAGE`, which knows the token on this machine.")
    _refuse_failed(service)


def _with_endpoint(shell: Shell, service: Resource) -> Resource:
    """The host gives the service its address within a second or so of being told."""
    end = time.monotonic() + _ENDPOINT_SECONDS
    while not service["endpoint"] and service["state"] != "Failed" and time.monotonic() < end:
        time.sleep(0.2)
        service = shell.client.get(named(_NOUN, service["name"]))
    return service


def _settle(shell: Shell, name: str, say: Any) -> Resource:
    return shell.client.wait(
        named(_NOUN, name),
        done=lambda found: found["state"] in _SETTLED,
        watch=lambda found: say(f"{found['state']} {found['message']}".strip()),
        pause=0.2,
    )


def _refuse_failed(service: Resource) -> None:
    if service["state"] == "Failed":
        raise OperationFailed(
            f"service {service['name']} failed: {service['message'] or 'see `sightloop services show`'}"
        )


@click.group(cls=Noun, example="sightloop services update flowers --instances 2")
def services() -> None:
    """Deployed models: state, instances, tokens."""


@services.command("list", cls=Verb, example="sightloop services list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the services."""
    columns = ("name", "state", "model", "instances", "quota", "endpoint")
    show.listing(shell, shell.client.items("/services"), columns, "There are no services yet.")


@services.command("show", cls=Verb, example="sightloop services show flowers")
@click.argument("name")
@pass_shell
def show_(shell: Shell, name: str) -> None:
    """Show a service: state, endpoint, the models it has served."""
    service = shell.client.get(named(_NOUN, name))
    show.fields(shell, service, _FIELDS)
    if not shell.json:
        for served in service["served"]:
            click.echo(f"  served {served['model_name']} since {show.local_time(served['at'])}")


@services.command(cls=Verb, example="sightloop services update flowers --model flowers-2 --wait")
@click.argument("name")
@click.option("--model", help="Serve this model.")
@click.option("--instances", type=click.IntRange(1), help="Replicas.")
@click.option("--quota", type=click.IntRange(1), help="Budget of an instance: each 1 CPU core and 4 GiB.")
@click.option("--rate-limit", type=click.IntRange(0), help="Requests a second; 0 for no limit.")
@click.option("--wait", is_flag=True, help="Wait until the change is in effect.")
@pass_shell
def update(shell: Shell, /, name: str, wait: bool, **change: Any) -> None:
    """Change a service; no accepted request is dropped."""
    body = {field: value for field, value in change.items() if value is not None}
    if not body:
        raise click.UsageError("Say what to change: --model, --instances, --quota or --rate-limit.")
    service = shell.client.patch(named(_NOUN, name), body)
    _report(shell, service, wait)


@services.command(cls=Verb, example="sightloop services stop flowers")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until it has stopped.")
@pass_shell
def stop(shell: Shell, name: str, wait: bool) -> None:
    """Stop a service; its name, port and tokens stay."""
    _report(shell, shell.client.post(f"{named(_NOUN, name)}/stop"), wait)


@services.command(cls=Verb, example="sightloop services start flowers --wait")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until it is Running.")
@pass_shell
def start(shell: Shell, name: str, wait: bool) -> None:
    """Start a stopped or failed service."""
    _report(shell, shell.client.post(f"{named(_NOUN, name)}/start"), wait)


def _report(shell: Shell, service: Resource, wait: bool) -> None:
    if wait:
        with show.line(service["name"]) as say:
            service = _settle(shell, service["name"], say)
    show.done(shell, service, f"Service {service['name']} is {service['state']}.")
    _refuse_failed(service)


@services.command(cls=Verb, example="sightloop services logs flowers --lines 50")
@click.argument("name")
@click.option("--lines", type=click.IntRange(1, 500), default=100, show_default=True, help="How many.")
@pass_shell
def logs(shell: Shell, name: str, lines: int) -> None:
    """Print the last lines of a running service's log; with --json an array."""
    found = shell.client.get(f"{named(_NOUN, name)}/logs", lines=lines)["items"]
    if shell.json:
        answer(found)
        return
    for entry in found:
        at = show.local_time(entry["at"]) if entry["at"] else ""
        facts = " ".join(f"{key}={value}" for key, value in entry["facts"].items())
        click.echo(f"{at} {entry['level']:<7} {entry['message']} {facts}".rstrip())


@services.command(cls=Verb, example="sightloop services delete flowers")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until it is gone.")
@pass_shell
def delete(shell: Shell, name: str, wait: bool) -> None:
    """Delete a service and its tokens; accepted requests are answered first."""
    service = shell.client.delete(named(_NOUN, name))
    shell.tokens.forget(name)
    if wait:
        with show.line(f"deleting {name}"):
            service = _until_gone(shell, service)
    show.done(shell, service, f"Service {name} is {service['state'].lower()}.")


def _until_gone(shell: Shell, service: Resource) -> Resource:
    address = named(_NOUN, service["name"])
    try:
        while True:
            shell.client.get(address)
            time.sleep(0.2)
    except Refused as refusal:
        if refusal.answer_status != 404:
            raise
    return {**service, "state": "Deleted"}


@services.command(
    cls=Verb,
    example="sightloop services tokens flowers\n"
    "sightloop services tokens flowers create\n"
    "sightloop services tokens flowers revoke 3",
)
@click.argument("name")
@click.argument("action", type=click.Choice(["list", "create", "revoke"]), default="list")
@click.argument("token_id", metavar="[ID]", type=int, required=False)
@pass_shell
def tokens(shell: Shell, name: str, action: str, token_id: int | None) -> None:
    """List, create or revoke the tokens of a service."""
    address = f"{named(_NOUN, name)}/tokens"
    if (action == "revoke") != (token_id is not None):
        raise click.UsageError("Give the ID of the token with `revoke`, and only there.")
    if action == "list":
        show.listing(
            shell, shell.client.items(address), ("id", "last4", "created_at"), "There are no tokens."
        )
    elif action == "create":
        made = shell.client.post(address)
        shell.tokens.keep(name, made["token"])
        show.done(shell, made, f"Token {made['id']}, shown this once: {made['token']}")
    else:
        shell.client.delete(f"{address}/{token_id}")
        show.done(shell, {"id": token_id, "state": "revoked"}, f"Token {token_id} of {name} is revoked.")
