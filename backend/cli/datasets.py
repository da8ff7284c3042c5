"""`sightloop datasets …`: bucket prefixes with their index and findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import click

from backend.cli import choices, labels, show
from backend.cli.client import Resource, named
from backend.cli.frame import Noun, Shell, Verb, pass_shell
from backend.cli.operating import operate

_NOUN = "datasets"
_FIELDS = (
    *("name", "state", "type", "path", "description", "connection", "images", "labelled", "unlabelled"),
    *("usable", "unchecked", "deleted", "classes", "findings", "created_at", "synced_at", "checked_at"),
)
_SEVERITIES = ("error", "warning", "note")


@click.group(
    cls=Noun, example="sightloop datasets create flowers --type classification --path s3://photos/flowers"
)
def datasets() -> None:
    """Bucket prefixes with their images and findings."""


@datasets.command(
    cls=Verb, example="sightloop datasets create flowers --type classification --path s3://photos/flowers"
)
@click.argument("name")
@click.option("--type", "kind", required=True, help="Type: classification, ocr, or that of a plugin.")
@click.option("--path", required=True, metavar="s3://BUCKET/PREFIX", help="Where the images are.")
@click.option("--description", default="", help="Up to 1,000 characters.")
@click.option(
    "--connection", help="Storage connection that reads the bucket (default: the stack's own store)."
)
@pass_shell
def create(shell: Shell, name: str, kind: str, path: str, description: str, connection: str | None) -> None:
    """Create a dataset on a bucket prefix."""
    body = {"name": name, "type": kind, "path": path, "description": description}
    if connection:
        body["connection"] = connection
    made = shell.client.post("/datasets", body)
    show.done(shell, made, f"Dataset {name} reads {path}; index it with `sightloop datasets sync {name}`.")


@datasets.command("list", cls=Verb, example="sightloop datasets list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the datasets."""
    columns = ("name", "type", "state", "path", "description", "created_at")
    show.listing(shell, shell.client.items("/datasets"), columns, "There are no datasets yet.")


@datasets.command("show", cls=Verb, example="sightloop datasets show flowers")
@click.argument("name")
@pass_shell
def show_(shell: Shell, name: str) -> None:
    """Show a dataset with its counts."""
    found = shell.client.get(named(_NOUN, name))
    if not shell.json:
        found["classes"] = {each["label"]: each["images"] for each in found.get("classes", ())}
        found["findings"] = {each["code"]: each["count"] for each in found.get("findings", ())}
    show.fields(shell, found, _FIELDS)


@datasets.command(cls=Verb, example="sightloop datasets delete flowers")
@click.argument("name")
@click.option("--with-models", is_flag=True, help="Also delete the models that were trained on it.")
@pass_shell
def delete(shell: Shell, name: str, with_models: bool) -> None:
    """Delete a dataset: its index, labels and training tasks. The bucket is left as it is.

    Refused while a sync or a training works on it, while it has models (see --with-models), and while one of
    these is served. A project in Label Studio stays there with its annotations.
    """
    gone = shell.client.delete(named(_NOUN, name), with_models=str(with_models).lower())
    stays = f" Its Label Studio project stays: {gone['label_studio']}" if gone["label_studio"] else ""
    show.done(shell, gone, f"Dataset {name} is deleted; the bucket is unchanged.{stays}")


@datasets.command(cls=Verb, example="sightloop datasets sync flowers")
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@pass_shell
def sync(shell: Shell, name: str, no_wait: bool) -> None:
    """Bring the index up to date with the bucket."""
    ended = operate(shell, name, "sync", no_wait)
    if no_wait or shell.json:
        _started(shell, ended, f"The sync of {name} has started.")
        return
    click.echo(f"Synced {name}: {_counts(ended)}.")
    _summarise(shell, name)


@datasets.command(cls=Verb, example="sightloop datasets check flowers")
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait for the end.")
@pass_shell
def check(shell: Shell, name: str, no_wait: bool) -> None:
    """Read every image once and report what stands in the way of training."""
    ended = operate(shell, name, "check", no_wait)
    if no_wait or shell.json:
        _started(shell, ended, f"The check of {name} has started.")
        return
    click.echo(f"Checked {name}: {_counts(ended)}.")
    _summarise(shell, name)


@datasets.command(cls=Verb, example="sightloop datasets prelabel flowers --wait")
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait for the end.")
@pass_shell
def prelabel(shell: Shell, name: str, wait: bool) -> None:
    """Put the current model's predictions into Label Studio, for all items without a label."""
    ended = operate(shell, name, "prelabel", not wait)
    if not wait or shell.json:
        _started(shell, ended, f"The pre-labeling of {name} has started.")
        return
    told = ended["result"].pop("reasons", [])
    click.echo(f"Pre-labelled {name}: {_counts(ended)}.")
    for one in told:
        click.echo(f"  {one['key']}: {one['reason']}")


@datasets.command(cls=Verb, example="sightloop datasets label flowers --wait")
@click.argument("name")
@click.option("--labels", default="", metavar="A,B", help="Classes to offer beside those of the dataset.")
@click.option("--wait/--no-wait", default=True, help="Wait until every image has its item (default).")
@pass_shell
def label(shell: Shell, name: str, labels: str, wait: bool) -> None:
    """Make or update the dataset's project in Label Studio, and say where to label."""
    address = f"{named(_NOUN, name)}/labeling"
    body = {"labels": [each.strip() for each in labels.split(",") if each.strip()]}
    operate(shell, name, "labeling", not wait, body)
    found = shell.client.get(address)
    where = found["url"] or f"soon; `sightloop datasets label {name}` says where"
    show.done(shell, found, f"Label {name} at {where} ({found['items']} items).")


datasets.add_command(labels.import_)
datasets.add_command(labels.export)
datasets.add_command(choices.next_)
datasets.add_command(choices.doubts)


def _counts(operation: Resource) -> str:
    """What an operation counted, without the zeros."""
    return show.text({name: value for name, value in operation["result"].items() if value})


def _started(shell: Shell, operation: Resource, sentence: str) -> None:
    """An operation as JSON, or that it has started."""
    show.done(shell, operation, f"{sentence} It is operation {operation['id']}.")


def _summarise(shell: Shell, name: str) -> None:
    """Every kind of finding once: how many, one of them in full, and what to do."""
    findings = list(shell.client.items(f"{named(_NOUN, name)}/findings"))
    if not findings:
        click.echo("No findings.")
        return
    for severity in _SEVERITIES:
        for code, count in _kinds(findings, severity):
            first = next(found for found in findings if found["code"] == code)
            where = f"{first['key']}: " if first["key"] else ""
            click.echo(f"  {severity:<8} {count:>6}  {code}  {where}{first['message']}; {first['advice']}")
    if any(found["severity"] == "error" for found in findings):
        click.echo("Images with an error stay out of training; warnings and notes block nothing.")


def _kinds(findings: Iterable[Resource], severity: str) -> list[tuple[str, int]]:
    return Counter(found["code"] for found in findings if found["severity"] == severity).most_common()
