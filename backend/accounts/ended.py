"""Sessions that were ended by signing out. A session lives in its cookie, of which there may be copies: they
open nothing from then on.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.accounts.tables import EndedSession
from backend.db import now


def new_id() -> str:
    """A name that nobody guesses, for a session that begins."""
    return secrets.token_hex(16)


def end(session: Session, name: str, lifetime: timedelta) -> None:
    """Note that a session has ended, until its cookie has expired at the latest after `lifetime`."""
    session.execute(delete(EndedSession).where(EndedSession.until < now()))
    session.merge(EndedSession(id=name, until=now() + lifetime))


def has_ended(session: Session, name: str) -> bool:
    """Whether somebody has signed out of it."""
    return session.get(EndedSession, name) is not None
