"""Signed, expiring addresses of images, for browsers that have no token: Label Studio's users.

A link carries the image's id, its etag (so that a changed image gets another address), when it expires, and
which dataset and key it was made for, as ids of what was deleted are given again: under an HMAC-SHA256 whose
key is derived from `Settings.secret_key`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from itsdangerous import BadSignature

from backend.datasets.tables import Dataset, Image
from backend.db import now
from backend.errors import LinkExpired, NotFound
from backend.settings import Settings
from backend.signing import serializer

LIFETIME = timedelta(days=90)
RENEW_BEFORE = timedelta(days=30)  # a label or reconcile run renews links that end sooner than this
PATH = "/images/"
THUMBNAILS = "/thumbnails/"  # the same signed name leads to the small picture of the image
_PURPOSE = "images"
_LONGEST = 500  # characters of a link that are looked at


@dataclass(frozen=True)
class Named:
    """What a link names: the id of an image, and the mark of the image that had this id then."""

    image_id: int
    mark: str


def link(settings: Settings, dataset: Dataset, image: Image, expires: datetime) -> str:
    """The address at which browsers get the image until `expires`."""
    return base_url(settings) + path(settings, dataset, image, expires)


def path(settings: Settings, dataset: Dataset, image: Image, expires: datetime) -> str:
    """The same without the host, for pages of the API itself."""
    return PATH + _signed(settings, dataset, image, expires)


def thumbnail_path(settings: Settings, dataset: Dataset, image: Image, expires: datetime) -> str:
    """The address of the image's thumbnail, without the host."""
    return THUMBNAILS + _signed(settings, dataset, image, expires)


def mark(dataset: Dataset, image: Image) -> str:
    """Tells an image from all others that ever have its id."""
    return _digest(f"{dataset.id} {dataset.created_at.isoformat()} {image.key}", 16)


def _signed(settings: Settings, dataset: Dataset, image: Image, expires: datetime) -> str:
    payload = [image.id, int(expires.timestamp()), _digest(image.etag, 8), mark(dataset, image)]
    return str(serializer(settings, _PURPOSE).dumps(payload))


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def named(settings: Settings, signed: str) -> Named:
    """What a link names. Raises `NotFound` for a forged one, `LinkExpired`."""
    try:
        if len(signed) > _LONGEST:
            raise BadSignature("too long")
        image_id, expires, _, marked = serializer(settings, _PURPOSE).loads(signed)
    except (BadSignature, ValueError, TypeError):
        raise NotFound("this is no link to an image; open the item in Label Studio again") from None
    if now().timestamp() >= expires:
        raise LinkExpired("this link to an image has expired; `sightloop datasets label NAME` renews it")
    return Named(int(image_id), str(marked))


def base_url(settings: Settings) -> str:
    """Where browsers reach the API."""
    return settings.public_url or settings.api_url or f"http://{settings.host}:{settings.port}"
