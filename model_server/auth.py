"""Who may call: three forms of one header, all checked against the same tokens.

    Authorization: <token>
    Authorization: Bearer <token>
    Authorization: EAS <base64(HMAC-SHA1(token, "POST\\n<md5>\\n<content type>\\n<date>\\n<path>"))>

A token is 72 random base64url characters. The service stores its SHA-256, which checks a token that was sent,
and its SHA-1, which checks a signature without the token: HMAC replaces a key longer than the 64-byte block
of its hash by the key's hash (RFC 2104, section 2), so for a 72-character token HMAC-SHA1(token, x) is
HMAC-SHA1(SHA-1(token), x). The SHA-1 is thus as good as the token for signing, and is kept as secret.

`<md5>` is the hex MD5 of the body, also sent as Content-MD5. `Date` is signed, not compared with a clock:
clients print their local time in it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from model_server.config import Token

TOKEN_LENGTH = 72
_SCHEME = "EAS "


@dataclass(frozen=True)
class Signed:
    """What a signature covers."""

    method: str
    path: str
    content_type: str
    date: str
    content_md5: str
    body: bytes


def new_token(token_id: str) -> tuple[str, Token]:
    """A new random token, and what is stored of it."""
    token = secrets.token_urlsafe(TOKEN_LENGTH * 3 // 4)
    return token, stored(token_id, token)


def stored(token_id: str, token: str) -> Token:
    """What is stored of a token. Raises ValueError if it is not of the length that signing relies on."""
    if len(token) != TOKEN_LENGTH:
        raise ValueError(f"a token has {TOKEN_LENGTH} characters")
    data = token.encode()
    return Token(token_id, hashlib.sha256(data).hexdigest(), hashlib.sha1(data).hexdigest())


def is_signature(header: str) -> bool:
    """Whether the header holds a signature, so that the body is needed to check it."""
    return header.startswith(_SCHEME)


def token_of(header: str, tokens: Iterable[Token]) -> Token | None:
    """The token that was sent, bare or as Bearer, or None. Every token is compared, in constant time."""
    sent = header.removeprefix("Bearer ").strip()
    digest = hashlib.sha256(sent.encode("utf-8", "replace")).hexdigest()
    found = None
    for token in tokens:
        if hmac.compare_digest(digest, token.sha256):
            found = token
    return found


def signer_of(header: str, signed: Signed, tokens: Iterable[Token]) -> Token | None:
    """The token whose owner signed this request, or None."""
    md5 = hashlib.md5(signed.body, usedforsecurity=False).hexdigest()
    if not hmac.compare_digest(md5.encode(), signed.content_md5.strip().lower().encode("utf-8", "replace")):
        return None
    try:
        signature = base64.b64decode(header.removeprefix(_SCHEME).strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    text = "\n".join((signed.method, md5, signed.content_type, signed.date, signed.path))
    message = text.encode("utf-8", "replace")
    found = None
    for token in tokens:
        expected = hmac.digest(bytes.fromhex(token.signing_key), message, "sha1")
        if hmac.compare_digest(expected, signature):
            found = token
    return found
