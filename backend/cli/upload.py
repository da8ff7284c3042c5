"""`sightloop upload`: a folder into a bucket, parallel and resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from backend.cli import show
from backend.cli.client import Resource
from backend.cli.errors import BadInput, OperationFailed
from backend.cli.frame import Shell, Verb, answer, pass_shell
from backend.cli.transfer import Counts, Source, Target, send, sources

_SHOWN = 10


class _Place(click.ParamType[tuple[str, str]]):
    """s3://BUCKET/PREFIX as bucket and prefix; the prefix is empty or ends with a slash."""

    name = "s3://bucket/prefix"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Bucket and prefix."""
        scheme, sign, rest = str(value).partition("://")
        bucket, _, prefix = rest.partition("/")
        if scheme != "s3" or not sign or not bucket:
            self.fail(f"{value!r} is not of the form s3://BUCKET/PREFIX", param, ctx)
        prefix = prefix.strip("/")
        return bucket, f"{prefix}/" if prefix else ""


@click.command(cls=Verb, example="sightloop upload photos/flowers s3://photos/flowers")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("place", metavar="s3://BUCKET/PREFIX", type=_Place())
@click.option("--connection", default="default", show_default=True, help="Storage connection of the bucket.")
@pass_shell
def upload(shell: Shell, folder: Path, place: tuple[str, str], connection: str) -> None:
    """Upload a folder into a bucket.

    The bucket is made when it is missing. Files whose content is there already are skipped, so running it
    again goes on where it stopped. Hidden files and what desktops leave behind (.DS_Store, Thumbs.db) are
    left out.
    """
    bucket, prefix = place
    counts = Counts()
    files = sources(folder, prefix, counts)
    if not counts.total:
        raise BadInput(f"{folder} holds no files; name the folder that holds the images")
    _send(Target(shell.client, connection, bucket), files, counts)
    if shell.json:
        answer(_result(counts, bucket, prefix))
    else:
        _print(counts, bucket, prefix)
    if counts.failures:
        raise OperationFailed(
            f"{len(counts.failures)} of {counts.total} files were not uploaded; "
            "run the same command to try them again"
        )


def _send(target: Target, files: list[Source], counts: Counts) -> None:
    try:
        with show.bar("uploading") as advance:
            send(target, files, counts, lambda: advance(counts.done, counts.total, show.size(counts.bytes)))
    except KeyboardInterrupt:
        raise OperationFailed(
            f"stopped after {counts.done} of {counts.total} files; run the same command to go on"
        ) from None


def _result(counts: Counts, bucket: str, prefix: str) -> Resource:
    return {
        "name": f"s3://{bucket}/{prefix}",
        "state": "failed" if counts.failures else "succeeded",
        "bucket": bucket,
        "prefix": prefix,
        "created_bucket": counts.created_bucket,
        "uploaded": counts.uploaded,
        "skipped": counts.skipped,
        "failed": len(counts.failures),
        "bytes": counts.bytes,
        "failures": counts.failures,
    }


def _print(counts: Counts, bucket: str, prefix: str) -> None:
    if counts.created_bucket:
        click.echo(f"Made the bucket {bucket}.")
    click.echo(
        f"s3://{bucket}/{prefix}: {counts.uploaded} uploaded ({show.size(counts.bytes)}), "
        f"{counts.skipped} there already, {len(counts.failures)} failed."
    )
    for failure in counts.failures[:_SHOWN]:
        click.echo(f"  {failure['key']}: {failure['reason']}", err=True)
    if len(counts.failures) > _SHOWN:
        click.echo(f"  and {len(counts.failures) - _SHOWN} more; --json lists them all", err=True)
