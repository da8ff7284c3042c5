"""`sightloop datasets next | doubts`: which labels pay, and which are doubtful."""

from __future__ import annotations

import click

from backend.cli import show
from backend.cli.client import named
from backend.cli.frame import Shell, Verb, pass_shell
from backend.cli.operating import operate


@click.command("next", cls=Verb, example="sightloop datasets next flowers --count 50")
@click.argument("name")
@click.option(
    "--count", type=click.IntRange(1, 10_000), default=200, show_default=True, help="Images to order."
)
@click.option("--last", is_flag=True, help="Show the last order again, without what has a label by now.")
@pass_shell
def next_(shell: Shell, name: str, count: int, last: bool) -> None:
    """List the unlabelled images in the order in which labels pay most."""
    address = f"{named('datasets', name)}/next"
    result = {} if last else operate(shell, name, "next", no_wait=False, body={"count": count})["result"]
    columns = ("key", "reason", "score", "url")
    none = f"No image of {name} that can be used lacks a label."
    show.listing(shell, shell.client.items(address), columns, none)
    if shell.json:
        return
    if result.get("not_in_label_studio"):
        click.echo(f"Label Studio does not show this order: {result['not_in_label_studio']}", err=True)
    elif tab := shell.client.get(f"{named('datasets', name)}/labeling")["next_url"]:
        click.echo(f'In this order in Label Studio: {tab} ("Label Tasks As Displayed")')


@click.command(cls=Verb, example="sightloop datasets doubts flowers")
@click.argument("name")
@click.option("--last", is_flag=True, help="Show those found last, without the labels changed since.")
@pass_shell
def doubts(shell: Shell, name: str, last: bool) -> None:
    """List the labels that are probably wrong, the worst first, with what they should perhaps be.

    Texts are read in their boxes by the dataset's current model, or by the pretrained reader where there is
    none yet: no reader is trained without the label in question.
    """
    address = f"{named('datasets', name)}/doubts"
    if not last:
        operate(shell, name, "doubts", no_wait=False)
    columns = ("key", "label", "suggested", "confidence", "url")
    show.listing(shell, shell.client.items(address), columns, f"No label of {name} is doubtful.")
