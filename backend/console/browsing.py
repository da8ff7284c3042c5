"""Looking for a folder of images in a store: the part of the form of a new dataset that asks the store."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from backend.console.page import show
from backend.datasets import browsing, thumbnails
from backend.errors import AppError
from backend.storage import ObjectStore
from backend.storepaths import check_key
from backend.views import runtime, workspace_id
from backend.workspaces import connecting, registry
from plugins.images import ImageError

bp = Blueprint("browsing", __name__)
_MAX_AGE = 600  # seconds that a browser may keep a sample


@bp.get("/new/dataset/browse")
def browse() -> Response:
    """The buckets of a connection, or the folders of one folder."""
    return show("dataset_browser.html", **place())


@bp.get("/new/dataset/more")
def more() -> Response:
    """The next part of a long list of folders."""
    return show("dataset_folders.html", **place())


@bp.get("/new/dataset/count")
def count() -> Response:
    """How many images were seen below a folder."""
    return _counted("dataset_count.html")


@bp.get("/new/dataset/seen")
def seen() -> Response:
    """The same for the folder that is open, with a few of the images."""
    return _counted("dataset_seen.html")


@bp.get("/new/dataset/sample")
def sample() -> Response:
    """The thumbnail of an image that is in no index yet."""
    try:
        bucket, _, key = request.args.get("path", "").removeprefix("s3://").partition("/")
        data = thumbnails.read(_store(), bucket, check_key(key), runtime().settings)
    except (AppError, ImageError):
        return _kept(thumbnails.NEUTRAL, thumbnails.NEUTRAL_TYPE, thumbnails.NEUTRAL_AGE)
    return _kept(data, thumbnails.MEDIA_TYPE, _MAX_AGE)


def place() -> dict[str, Any]:
    """What the query asks for: `place`, or None and the `refusal` of the store."""
    asked = {"connection": request.args.get("connection", ""), "path": request.args.get("path", "")}
    try:
        found = browsing.look(_store(), asked["path"], request.args.get("following", ""))
    except AppError as error:
        return {**asked, "place": None, "refusal": str(error)}
    return {**asked, "place": found, "refusal": ""}


def _counted(template: str) -> Response:
    connection = request.args.get("connection", "")
    try:
        found = browsing.count(_store(), request.args.get("path", ""))
    except AppError as error:
        return show(template, connection=connection, seen=None, refusal=str(error))
    return show(template, connection=connection, seen=found, refusal="")


def _kept(data: bytes | str, kind: str, seconds: int) -> Response:
    """A picture that the browser may keep for so long."""
    response = Response(data, mimetype=kind)
    response.headers["Cache-Control"] = f"private, max-age={seconds}"
    return response


def _store() -> ObjectStore:
    """The store of the connection that the query names, with as much patience as a person has."""
    with runtime().sessions() as session:
        row = registry.connection(session, workspace_id(), request.args.get("connection", ""))
    return runtime().store(row, read_timeout=connecting.PATIENCE)
