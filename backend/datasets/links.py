"""Signed, expiring addresses of images, for browsers that have no token: Label Studio's users.

A link carries the image's id, its etag (so that a changed image gets another address) and when it expires,
under an HMAC-SHA256 whose key is derived from `Settings.secret_key`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from itsdangerous import BadSignature

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


def link(settings: Settings, image_id: int, etag: str, expires: datetime) -> str:
    """The address at which browsers get the image until `expires`."""
    return base_url(settings) + path(settings, image_id, etag, expires)


def path(settings: Settings, image_id: int, etag: str, expires: datetime) -> str:
    """The same without the host, for pages of the API itself."""
    return PATH + _signed(settings, image_id, etag, expires)


def thumbnail_path(settings: Settings, image_id: int, etag: str, expires: datetime) -> str:
    """The address of the image's thumbnail, without the host."""
    return THUMBNAILS + _signed(settings, image_id, etag, expires)


def _signed(settings: Settings, image_id: int, etag: str, expires: datetime) -> str:
    payload = [image_id, int(expires.timestamp()), hashlib.sha256(etag.encode()).hexdigest()[:8]]
    return str(serializer(settings, _PURPOSE).dumps(payload))


def image_of(settings: Settings, signed: str) -> int:
    """The id of the image that a link names. Raises `NotFound` for a forged one, `LinkExpired`."""
    try:
        if len(signed) > _LONGEST:
            raise BadSignature("too long")
        image_id, expires, _ = serializer(settings, _PURPOSE).loads(signed)
    except (BadSignature, ValueError, TypeError):
        raise NotFound("this is no link to an image; open the item in Label Studio again") from None
    if now().timestamp() >= expires:
        raise LinkExpired("this link to an image has expired; `sightloop datasets label NAME` renews it")
    return int(image_id)


def base_url(settings: Settings) -> str:
    """Where browsers reach the API."""
    return settings.public_url or settings.api_url or f"http://{settings.host}:{settings.port}"
