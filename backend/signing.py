"""Signed texts for addresses that open something without a token: HMAC-SHA256 under a key derived from
`Settings.secret_key`, another one for each purpose.
"""

from __future__ import annotations

import hashlib

from itsdangerous import URLSafeSerializer

from backend.settings import Settings


def serializer(settings: Settings, purpose: str) -> URLSafeSerializer:
    """Signs JSON values for this purpose and reads them; `loads` raises `itsdangerous.BadSignature`."""
    return URLSafeSerializer(
        settings.secret_key,
        salt=f"sightloop.{purpose}",
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
