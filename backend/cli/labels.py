"""`sightloop datasets import | export`: label files in and out."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode
from zipfile import ZipFile

import click

from backend.cli import show
from backend.cli.client import Resource, named
from backend.cli.frame import Shell, Verb, pass_shell

_FORMATS = ("label-studio", "coco", "csv", "ppocrlabel", "voc")
_WRITTEN = {
    "label-studio": "label-studio.json",
    "coco": "coco.json",
    "csv": "labels.csv",
    "ppocrlabel": "Label.txt",
}


@click.command("import", cls=Verb, example="sightloop datasets import flowers labels.csv")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--format", "format_", type=click.Choice(_FORMATS), help="Default: by the file's name.")
@pass_shell
def import_(shell: Shell, name: str, file: Path, format_: str | None) -> None:
    """Read labels from a file (64 MiB at most): Label Studio JSON or JSON-MIN, COCO, CSV, PPOCRLabel, VOC."""
    query = urlencode({"file": file.name, "format": format_ or ""})
    came = shell.client.send_file(f"{named('datasets', name)}/labels/import?{query}", file)
    show.done(shell, came, _sentence(came))


def _sentence(came: Resource) -> str:
    counts = {field: came[field] for field in ("changed", "same", "kept", "left_out") if came[field]}
    said = f"Imported {came['file']} as {came['format']}: {show.text(counts) or 'it names no image'}."
    if came["left_out"] or came["kept"]:
        said += f" `/datasets/{came['name']}/findings` of the API says why, with file and line."
    return said


@click.command("export", cls=Verb, example="sightloop datasets export flowers --format coco --output labels")
@click.argument("name")
@click.option("--format", "format_", type=click.Choice(_FORMATS), required=True, help="What to write.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="A folder.")
@pass_shell
def export(shell: Shell, name: str, format_: str, output: Path) -> None:
    """Write the labels of a dataset into a folder."""
    output.mkdir(parents=True, exist_ok=True)
    address = f"{named('datasets', name)}/labels/export?{urlencode({'format': format_})}"
    if format_ == "voc":
        count = _unpack(shell, address, output)
        what, where = f"{count:,} files", output
    else:
        where = output / _WRITTEN[format_]
        shell.client.download(address, where)
        what = where.name
    found = {"name": name, "state": "exported", "format": format_, "path": str(where)}
    show.done(shell, found, f"Exported the labels of {name} to {where} ({what}).")


def _unpack(shell: Shell, address: str, output: Path) -> int:
    """A VOC file an image, in the folders that the images have."""
    with TemporaryDirectory(prefix="sightloop-voc-") as folder:
        archive = Path(folder) / "voc.zip"
        shell.client.download(address, archive)
        with ZipFile(archive) as found:
            found.extractall(output)  # leaves out .. and absolute paths
            return len(found.namelist())
