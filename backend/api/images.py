"""`/images/<signed>` and `/thumbnails/<signed>`: an image, or its small picture, for a browser that has a
signed link. Outside of the API's prefix.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from flask import Blueprint, Response, request

from backend.datasets import links, thumbnails
from backend.datasets.tables import Dataset, Image
from backend.errors import AppError, LinkExpired, NotFound, UnsupportedImage
from backend.storage import ObjectStore, StoreAddress
from backend.views import runtime
from plugins.images import ImageError

bp = Blueprint("images", __name__)
_MAX_AGE = 24 * 3600  # seconds that a browser may keep an image


@bp.after_request
def _open_to_pages(response: Response) -> Response:
    """Pages of other origins (Label Studio) may read the pixels; nothing in it is ever run."""
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


@bp.get(f"{links.PATH}<signed>")
def image(signed: str) -> Response:
    """The object as it is in the bucket. 404: forged; 410: expired, or the image has left the bucket."""
    row, bucket, address = _asked(signed)
    if request.if_none_match.contains(row.etag):
        return _cached(Response(status=304), row.etag)
    data, etag = _store(address).read_version(bucket, row.key, runtime().settings.max_image_bytes)
    kind = content_type(data)
    if kind is None:
        raise UnsupportedImage(f"{row.key} is neither JPEG, PNG, BMP nor WEBP")
    return _cached(Response(data, mimetype=kind), etag or row.etag)


@bp.get(f"{links.THUMBNAILS}<signed>")
def thumbnail(signed: str) -> Response:
    """At most 240 pixels wide and high. A neutral picture where there is no image that could be shown; it is
    asked for again soon, since a store comes back and a damaged image may be mended.
    """
    settings = runtime().settings
    try:
        row, bucket, address = _asked(signed)
        if request.if_none_match.contains(row.etag):
            return _cached(Response(status=304), row.etag)
        data = _thumbnails(settings.data_dir).get(
            f"{address.endpoint} {bucket} {row.key} {row.etag}",
            lambda: thumbnails.read(_store(address), bucket, row.key, settings),
        )
    except NotFound:  # no link of ours
        raise
    except (ImageError, AppError):
        response = Response(thumbnails.NEUTRAL, mimetype=thumbnails.NEUTRAL_TYPE)
        response.headers["Cache-Control"] = f"private, max-age={thumbnails.NEUTRAL_AGE}"
        return response
    return _cached(Response(data, mimetype=thumbnails.MEDIA_TYPE), row.etag)


def _asked(signed: str) -> tuple[Image, str, StoreAddress]:
    """The image that a link names, its bucket and its store."""
    with runtime().sessions() as session:
        named = links.named(runtime().settings, signed)
        row = session.get(Image, named.image_id)
        if row is None or row.state != "present":
            raise LinkExpired("this image is no longer in the bucket")
        dataset = session.get_one(Dataset, row.dataset_id)
        if links.mark(dataset, row) != named.mark:
            raise LinkExpired("the image of this link was deleted")
        return row, dataset.bucket, runtime().store(dataset.connection).address


def content_type(data: bytes) -> str | None:
    """The media type by the first bytes; None for what is no image that Sightloop reads."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    starts = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"BM", "image/bmp"))
    return next((kind for start, kind in starts if data.startswith(start)), None)


def _cached(response: Response, etag: str) -> Response:
    response.set_etag(etag)
    response.headers["Cache-Control"] = f"private, max-age={_MAX_AGE}"
    return response


@cache
def _thumbnails(data_dir: Path) -> thumbnails.Cache:
    """One a process."""
    return thumbnails.Cache(data_dir / "thumbnails")


@cache
def _store(address: StoreAddress) -> ObjectStore:
    """One a store and process, so that connections are kept."""
    return ObjectStore(address)
