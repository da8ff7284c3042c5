"""Tokens of services: made here, shown once, stored as hashes."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.errors import NotFound, WrongState
from backend.sealing import Sealer
from backend.services.tables import Service, ServiceToken

# 54 bytes make 72 characters. HMAC replaces a key longer than its 64-byte block by the hash of the key (RFC
# 2104, section 2), so the signatures of such a token can be checked with SHA-1(token): the token itself need
# not be stored.
_TOKEN_BYTES = 54


@dataclass(frozen=True)
class NewToken:
    """A token in the clear, to be shown once, and its row."""

    text: str
    row: ServiceToken


def issue(session: Session, sealer: Sealer, service: Service) -> NewToken:
    """Make a token of 72 characters for a service."""
    text = secrets.token_urlsafe(_TOKEN_BYTES)
    signing_key = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    row = ServiceToken(
        service_id=service.id,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        signing_key_encrypted=sealer.seal(signing_key),
        last4=text[-4:],
    )
    session.add(row)
    session.flush()
    return NewToken(text, row)


def of(session: Session, service: Service) -> list[ServiceToken]:
    """The service's tokens, oldest first."""
    statement = select(ServiceToken).where(ServiceToken.service_id == service.id)
    return list(session.scalars(statement.order_by(ServiceToken.id)))


def revoke(session: Session, service: Service, token_id: int) -> None:
    """Forget a token. Raises `NotFound`, and `WrongState` for the last one: make another first."""
    rows = of(session, service)
    row = next((row for row in rows if row.id == token_id), None)
    if row is None:
        raise NotFound(
            f"service {service.name!r} has no token {token_id}; `sightloop services tokens` lists them"
        )
    if len(rows) == 1:
        raise WrongState("this is the service's only token; make another one first, then revoke this")
    session.delete(row)
