"""`sightloop models …`: trained models, their metrics, comparison, export, and tests on a phone."""

from __future__ import annotations

from pathlib import Path

import click
import segno
from rich.table import Table

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.errors import BadInput
from backend.cli.frame import Noun, Shell, Verb, answer, expand, pass_shell

_NOUN = "models"
_FIELDS = (
    *(
        "name",
        "state",
        "plugin",
        "algorithm",
        "labels",
        "metrics",
        "size",
        "served",
        "parent",
        "worse_than",
        "note",
    ),
    *("snapshot", "digest", "created_at"),
)
_MINUTES = click.Choice(["15", "60", "480", "1440"])  # of `backend.trials.registry`
_CLOSED = (
    "Phones cannot reach this machine: the API listens for it alone. Start it with "
    "sightloop up --host 0.0.0.0 --https, or open the link here:"
)


@click.group(cls=Noun, example="sightloop models compare flowers-1 flowers-2")
def models() -> None:
    """Trained models: metrics, comparison, export, test on a phone."""


@models.command("list", cls=Verb, example="sightloop models list")
@pass_shell
def list_(shell: Shell) -> None:
    """List the models, newest first."""
    columns = ("name", "state", "algorithm", "measured", "worse_than", "created_at")
    rows = (
        row if shell.json else {**row, "measured": _measured(row)} for row in shell.client.items("/models")
    )
    show.listing(shell, rows, columns, "There are no models yet.")


def _measured(model: Resource) -> str:
    """The one metric that ranks it; `show` prints all. A stack that an update found running names none."""
    name = model.get("headline", "")
    value = model["metrics"].get(name)
    return "" if value is None else f"{name.replace('_', ' ')} {value:.3f}"


@models.command("show", cls=Verb, example="sightloop models show flowers-1")
@click.argument("name")
@pass_shell
def show_(shell: Shell, name: str) -> None:
    """Show a model: metrics, labels, what is served and why; --json: also the facts of its training."""
    found = shell.client.get(named(_NOUN, name))
    if not shell.json:
        found = {**found, "size": show.size(found["size"])}
    show.fields(shell, found, _FIELDS)


@models.command(cls=Verb, example="sightloop models compare flowers-1 flowers-2")
@click.argument("first")
@click.argument("second")
@click.option("--images", is_flag=True, help="Also the images that only one of them gets right.")
@pass_shell
def compare(shell: Shell, first: str, second: str, images: bool) -> None:
    """Compare two models, metric by metric; with --images also image by image."""
    address = f"{named(_NOUN, first)}{named('/compare', second)[1:]}"
    found = shell.client.get(address)
    if images:
        found["answers"] = shell.client.get(f"{address}/images")
    if shell.json:
        answer(found)
        return
    _print_comparison(found)
    if images:
        _print_flips(found["answers"])


def _print_flips(found: Resource) -> None:
    if not found["images"]:
        click.echo("No image was measured by both, or one of them keeps no list of its answers.")
        return
    right, other = found["right"]
    click.echo(
        f"Both were measured on {found['images']} images: {found['name']} makes no mistake on {right}, "
        f"{found['other']} on {other}. Between equally good models such a difference has a probability of "
        f"{found['p_value']:.2g}."
    )
    for side in ("better", "worse"):
        for flip in found[side]:
            before, after = (_wrong(flip[name]) for name in ("before", "after"))
            click.echo(f"{side:<6}  {flip['key']}  {before} -> {after}")


def _wrong(rows: list[Resource]) -> str:
    """Of one answer the answer, of several how many are wrong."""
    if len(rows) == 1:
        return str(rows[0]["answer"])
    return f"{sum(not row['right'] for row in rows)} wrong"


def _print_comparison(found: Resource) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    for title in (found["name"], found["other"], "difference"):
        table.add_column(title, justify="right")
    for metric, values in found["metrics"].items():
        cells = (show.text(values["first"]), show.text(values["second"]), f"{values['difference']:+.4g}")
        table.add_row(metric, *cells)
    show.printed(table)
    if found["note"]:
        click.echo(found["note"])


@models.command(cls=Verb, example="sightloop models export flowers-1 --format onnx --output flowers.onnx")
@click.argument("name")
@click.option(
    "--format",
    "form",
    type=click.Choice(["onnx", "bundle"]),
    required=True,
    help="onnx: the model alone; bundle: everything, as one zip.",
)
@click.option(
    "--precision",
    "wanted",
    type=click.Choice(["served", "fp32", "int8"]),
    default="served",
    show_default=True,
    help="With --format onnx: the file that services run, or one of the two.",
)
@click.option("--output", required=True, metavar="PATH", help="File to write, or a folder to write into.")
@pass_shell
def export(shell: Shell, name: str, form: str, wanted: str, output: str) -> None:
    """Save a model as an ONNX file or as its bundle."""
    target = expand(output)
    if target.is_dir():
        target = target / f"{name}.{'zip' if form == 'bundle' else 'onnx'}"
    query = f"?precision={wanted}" if form == "onnx" else ""
    size = _download(shell, f"{named(_NOUN, name)}/{form}{query}", target)
    made = {"name": name, "state": "exported", "format": form, "path": str(target), "size": size}
    show.done(shell, made, f"Wrote {target} ({show.size(size)}).")


def _download(shell: Shell, path: str, target: Path) -> int:
    try:
        with show.line(f"writing {target}"):
            return shell.client.download(path, target)
    except OSError as error:
        raise BadInput(f"{target} cannot be written: {error.strerror}; choose another --output") from None


@models.command(cls=Verb, example="sightloop models delete flowers-1")
@click.argument("name")
@pass_shell
def delete(shell: Shell, name: str) -> None:
    """Delete a model that no service uses."""
    shell.client.delete(named(_NOUN, name))
    show.done(shell, {"name": name, "state": "deleted"}, f"Model {name} is deleted.")


@models.command(cls=Verb, example="sightloop models test flowers-1 --minutes 60")
@click.argument("name")
@click.option("--minutes", type=_MINUTES, default="60", show_default=True, help="How long the link holds.")
@click.option(
    "--collect", is_flag=True, help="Let pictures be sent back, as images without a label of the dataset."
)
@pass_shell
def test(shell: Shell, name: str, minutes: str, collect: bool) -> None:
    """Make a link that opens the model on a phone, and show its QR code."""
    body = {"minutes": int(minutes), "collects": collect}
    made = shell.client.post(f"{named(_NOUN, name)}/links", body)
    if shell.json:
        answer(made)
        return
    if made["url"]:
        segno.make(made["url"], error="m", micro=False).terminal(border=2, compact=True)
        click.echo(made["url"])
    else:
        click.echo(f"{_CLOSED}\n{shell.client.origin}{made['path']}")
    click.echo(f"Valid until {show.text(made['expires_at'])}; end it with: {_ending(name, made)}")


@models.command("links", cls=Verb, example="sightloop models links flowers-1")
@click.argument("name")
@pass_shell
def links_(shell: Shell, name: str) -> None:
    """List the links that open a model now, newest first."""
    rows = shell.client.get(f"{named(_NOUN, name)}/links")["items"]
    columns = ("id", "state", "collects", "returned", "created_at", "expires_at", "url")
    show.listing(shell, rows, columns, f"No link opens {name} now.")


@models.command("revoke-link", cls=Verb, example="sightloop models revoke-link flowers-1 3")
@click.argument("name")
@click.argument("link", type=click.IntRange(1))
@pass_shell
def revoke_link(shell: Shell, name: str, link: int) -> None:
    """End a link now: who has it gets no answer any more."""
    shell.client.delete(f"{named(_NOUN, name)}/links/{link}")
    show.done(shell, {"id": link, "state": "revoked"}, f"Link {link} of {name} is revoked.")


def _ending(name: str, link: Resource) -> str:
    return f"sightloop models revoke-link {name} {link['id']}"
